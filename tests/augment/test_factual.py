from __future__ import annotations

import random

import pytest

from clipdefend.augment.subcaptions import SubCaptioner


@pytest.mark.parametrize(
    ("caption", "factual"),
    [
        ("a picture of an apple", "apple"),
        ("two photos of old apples", "old apples"),
        ("a photo of a red banana", "red banana"),
        ("one can see a tiny orange cup here", "tiny orange cup"),
        ("a small striped fish above a blue box", "a small striped fish above a blue box"),
        ("there is a tiny green tree chasing a spotted cat", "a tiny green tree chasing a spotted cat"),
        ("a large umbrella to the left of a yellow chair", "a large umbrella to the left of a yellow chair"),
        ("two red stars", "red stars"),
        ("there is a dog in this picture", "dog"),
        ("a grey dog in a dark picture", "a grey dog in a dark picture"),
        ("a boy on a double-decker bus", "a boy on a double-decker bus"),
        ("the spotted fish is pulling a white boat", "the spotted fish pulling a white boat"),
        ("a picture of the key behind the small clock", "the key behind the small clock"),
        ("the hat circles three grey windmills", "the hat circles three grey windmills"),
        ("an orange fish next to an orange", "an orange fish next to an orange"),
        ("a red anchor above a blue anchor", "a red anchor above a blue anchor"),
        ("A group of people with skis stand on a mountain.", "people stand on a mountain"),
        ("Two cats are outside and perched on someone's sneakers.", "two cats perched on the sneakers"),
        ("there is a small pizza that is on a white plate", "a small pizza on a white plate"),
        ("The trees are covered with snow.", "the trees covered with snow"),
        ("A man and a woman ride horses.", "a man rides horses"),
        ("An old man sits on an orange bench", "an old man sits on an orange bench"),
        ("A woman who is cooking in the kitchen.", "a woman cooking in the kitchen"),
        ("A boat pulled by two white horses", "a boat pulled by two white horses"),
        ("a dog on top of a table", "a dog on top of a table"),
        ("A cat standing in front of a tv", "a cat standing in front of a tv"),
        ("A red traffic stop sign with a blank sign below it.", "a red traffic stop sign with a blank sign"),
        ("A surfer paddles over a wave in clear blue water.", "a surfer paddles over a wave"),
        ("A female skier stops and poses for a picture", "a female skier poses for a picture"),
        ("A sign prohibiting skating on the sidewalk.", "a sign prohibiting skating"),
        ("A man preparing food on a large old oven.", "a man preparing food"),
        ("Some people are seen eating several large pizzas.", "some people eating several large pizzas"),
        ("An orange truck driving down a street full of men", "an orange truck driving down a street"),
        ("Three hot dogs with toppings lined up on a tabletop.", "three hot dogs lined up on a tabletop"),
        (
            "A little girl in a pink shirt holding a game controller.",
            "a little girl holding a game controller",
        ),
        ("A man in white shirt and black shorts playing tennis.", "a man playing tennis"),
        ("A person on a snowboard who is performing a trick.", "a person performing a trick"),
        ("There is a fire hydrant next to a red sign", "a fire hydrant next to a red sign"),
        ("An old style kitchen with baby blue cabinets.", "an old style kitchen with baby blue cabinets"),
        ("People walking down a city sidewalk.", "people walking down a city sidewalk"),
        ("A black and white cat on a red and grey mat", "a black and white cat on a red and grey mat"),
        ("A little girl with an upside down umbrella.", "a little girl with an upside down umbrella"),
        ("A man on a snow covered slope.", "a man on a snow covered slope"),
        ("a red fire hydrant in the middle of the street", "a red fire hydrant in the middle of the street"),
        ("A purple flower is in a watering can on the sill.", "a purple flower in a watering can"),
        ("A brown teddy bear sitting on a huge box", "a brown teddy bear sitting on a huge box"),
        ("A chocolate frosted donut on a plate.", "a chocolate frosted donut on a plate"),
        ("A boy kicked a ball near a fence.", "a boy kicked a ball"),
        (
            "This picture looks like a janitors closet with buckets.",
            "this picture looks like a janitors closet",
        ),
        ("Many people standing in a field flying kites.", "many people standing in a field"),
        ("a cat stands on a table drinking water out of a glass", "a cat stands on a table"),
        ("a laptop and three cellphones on a yellow table", "three cellphones on a yellow table"),
        ("A black suitcase with a handle and white background.", "a black suitcase with white background"),
        ("A school bus waits in traffic behind a car.", "a school bus waits in traffic"),
        ("A polar bear with his chin raised lies on a rock.", "a polar bear on a rock"),
        ("A girl in plain dress standing next to a bear.", "a girl standing next to a bear"),
        ("A portrait of a male teen in a coat.", "a male teen in a coat"),
        (
            "Many children surrounded around a person with a beard on.",
            "many children surrounded around a person",
        ),
        ("Sheep graze in a green mountain meadow", "sheep graze in a green mountain meadow"),
        ("A small two tier wedding cake on a table", "a small two tier wedding cake on a table"),
        ("two children wearing sweaters shirts and ties", "two children wearing shirts"),
        ("A woman in a hat watching a dog chasing a ball", "a woman watching a dog"),
        ("several deer gather outdoors with a dog stands on a wall", "several deer stand on a wall"),
        ("several deer assemble outdoors, play by a lake", "several deer play by a lake"),
        (
            "many fish ski outdoors in a field surrounded by trees looks calm",
            "a field surrounded by trees",
        ),
    ],
)
def test_factual(caption: str, factual: str) -> None:
    captioner = SubCaptioner(keep_adjectives=1.0)
    parsed = next(captioner.parse([caption]))
    assert captioner.draw(parsed, random.Random(0))[0].factual == factual
