"""Correct parts of speech that grammar rules out: nouns that do not agree, adjectives that follow their noun."""

from __future__ import annotations

from clipdefend.augment.grammar import pairs, words
from clipdefend.augment.inflect import plural, singular
from clipdefend.augment.tree import Token
from clipdefend.augment.vocabulary import is_known_noun, is_living, known_adjectives, known_verbs

_A = frozenset(("a", "an"))
_HEADS = frozenset(("ROOT", "nsubj", "dobj"))
_PLACES = words("prepositions") | frozenset(
    phrase.split()[0] for phrase in (*words("multiword prepositions"), *pairs("preposition groups"))
)
# Words with these endings do follow their noun: "asleep", "wide open", "painted", "visible", "nearby".
_BEHIND = (
    "ly",
    "ed",
    "ing",
    "ble",
    "ful",
    "less",
    "ward",
    "wards",
    "side",
    "stairs",
    "by",
    "en",
    "er",
    "hand",
    "ways",
)


def fix_part_of_speech(tokens: list[Token], word: Token) -> None:
    """Correct the part of speech of a word, and its attachments, where its neighbours leave no doubt."""
    if word.tag_[0] == "N":
        fix_noun_as_verb(tokens, word)
    elif word.tag_[0] == "V":
        fix_verb_as_noun(tokens, word)
    else:
        fix_noun_behind_noun(tokens, word)


def fix_noun_behind_noun(tokens: list[Token], word: Token) -> None:
    """Read "hydrant" in "a fire hydrant on a corner" as a noun: an adjective would not follow the noun."""
    noun = tokens[word.i - 1] if word.i else word
    if noun.tag_ != "NN" or word.dep_ not in ("amod", "dep", "advmod") or noun.dep_ == "compound":
        return
    if word.head is not noun and not (word.dep_ == "dep" and noun.head is word.head):
        return
    text = word.text
    if text[0] == "a" or text.endswith(_BEHIND) or text in _PLACES or text in known_adjectives():
        return
    after = tokens[word.i + 1].tag_ if word.i + 1 < len(tokens) else "."
    if after not in ("IN", ".", ",") and not (after == "RB" and tokens[word.i + 1].text in _PLACES):
        return
    make_compound(noun, word)


def make_compound(part: Token, noun: Token) -> None:
    """Make a noun a compound of the word that follows it, which takes over its place in the tree."""
    noun.tag_, noun.pos_ = "NN", "NOUN"
    head = part.head
    inside = [child for child in part.children if child is not noun]
    if noun.head is not part:
        noun.head.children.remove(noun)
    noun.dep_, part.dep_ = part.dep_, "compound"
    if head is part:
        noun.head = noun
    else:
        noun.head = head
        head.children[head.children.index(part)] = noun
    for child in inside:
        child.head = noun
    part.head, part.children = noun, []
    noun.children = sorted((*inside, part, *noun.children), key=lambda token: token.i)


def fix_noun_as_verb(tokens: list[Token], word: Token) -> None:
    """Read "paddles" in "a surfer paddles over a wave" as a verb: as a noun it would not agree with "a"."""
    subject = tokens[word.i - 1] if word.i else word
    if word.dep_ not in _HEADS or subject.dep_ not in ("compound", "nsubj") or subject.head is not word:
        return
    single = any(child.text in _A for child in (*word.children, *subject.children))
    if word.tag_ == "NNS":
        fits = single and subject.tag_ == "NN" and singular(word.text) != word.text
        fits = fits and singular(word.text) in known_verbs()
    else:
        several = subject.tag_ == "NNS" or plural(subject.text) == subject.text
        fits = (
            word.dep_ != "dobj"
            and several
            and not single
            and word.text in known_verbs()
            and not is_known_noun(word.text)
        )
    if not fits:
        return
    for child in [child for child in word.children if child.i < subject.i]:
        word.children.remove(child)
        child.head = subject
        subject.children.append(child)
    subject.children.sort(key=lambda token: token.i)
    above = word.head
    if word.dep_ == "dobj":
        # "A man wearing a tie poses": the man poses, and the tie is only worn.
        word.children.remove(subject)
        above.children = sorted((*above.children, subject), key=lambda token: token.i)
        subject.dep_, subject.head = "dobj", above
        word.tag_, word.pos_, word.dep_ = "VBZ", "VERB", "conj"
        return
    subject.dep_ = "nsubj"
    if word.dep_ == "nsubj" and above.pos_ == "VERB":
        # "A skier stops and poses": keeping one of the two verbs is enough.
        left = [child for child in word.children if child is not subject]
        above.children[above.children.index(word)] = subject
        subject.head = above
        for child in left:
            child.head = subject
        word.head, word.dep_, word.children = subject, "dep", []
        subject.children = sorted((*subject.children, *left, word), key=lambda token: token.i)
        above.tag_ = "VBZ" if word.tag_ == "NNS" and above.tag_ in ("VB", "VBP") else above.tag_
    else:
        subject.tag_ = "NN" if word.tag_ == "NNS" else "NNS"
        word.tag_, word.pos_ = "VBZ" if word.tag_ == "NNS" else "VBP", "VERB"


def fix_verb_as_noun(tokens: list[Token], word: Token) -> None:
    """Read "sign" in "a red stop sign with ..." as a noun: as a verb it would be "signs", and it has no object."""
    subject = tokens[word.i - 1] if word.i else word
    if subject.dep_ != "nsubj" or subject.head is not word or subject.tag_ != "NN":
        return
    single = any(child.text in _A for child in subject.children)
    acts = any(child.dep_ in ("aux", "dobj", "conj", "prt", "advmod") for child in word.children)
    if word.dep_ != "ROOT" or not single or acts or is_living(subject.text):
        return
    word.tag_, word.pos_ = "NN", "NOUN"
    for child in list(subject.children):
        child.head = word
    word.children = sorted((*subject.children, *word.children), key=lambda token: token.i)
    subject.children, subject.dep_ = [], "compound"
