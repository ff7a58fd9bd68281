"""Caption augmentation: EDA, lexicons, factual and counterfactual sub-captions."""
