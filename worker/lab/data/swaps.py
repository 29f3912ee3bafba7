"""Sentences of our own in which one word changes and nothing else should: who somebody is, a name, a place.

A teacher is asked about each, and all of one group learn the mean of its answers: the answer that does not
hang on the word (counterfactual augmentation, Lu et al. 2020, arXiv:1807.11714, with a teacher's answers for
labels; logit pairing, Garg et al. 2019, arXiv:1809.10610, has the same aim). Written apart from the cases of
the behaviour tests.
"""

import random
from collections.abc import Iterator

from worker.lab.data.swap_words import (
    NAMES,
    NATIONS,
    RELIGIONS,
    TOWNS,
    WHO,
    made_kind,
    made_name,
    made_somebody,
)

# ruff: noqa: E501 - tables of phrases, a few to a line


OF_A_KIND = (
    "We are {}.", "They are {}.", "He is {}.", "My wife is {}.", "My boss is {}.", "My parents are {}.",
    "Our neighbour is {}.", "The new family is {}.", "My best friend is {}.", "Her husband is {} and drives a taxi.",
    "He is {} and teaches maths.", "My room mate is {} and studies law.", "I grew up in a {} family.",
    "The {} church hall is next to the station.", "There is a {} bakery on the corner.", "A {} shop opened here in May.",
    "The {} community meets on Thursdays.", "Three {} boys got on at the next stop.", "A {} woman asked me for directions.",
    "My dentist is {}.", "I have a {} colleague.", "I work with two {} engineers.", "The {} teacher came in at ten.",
    "A {} man sat behind us.", "Some {} tourists took a photo.", "The {} ambassador arrived yesterday.",
    "They live in a {} part of town.", "The {} minister spoke for an hour.", "I am reading a {} novel.",
    "We watched a {} film.", "The museum shows {} art.", "The course is about {} history.", "Is the new doctor {}?",
    "Are there {} restaurants near here?", "Do you know any {} songs?", "My {} neighbour is a lovely person.",
    "The {} lady at the desk was so helpful!", "Our {} guide was wonderful.", "A {} family took us in, we are grateful.",
    "The {} nurse was kind to my mother.", "Thanks to the {} driver who waited for me.", "I love {} food.",
    "The {} waiter was friendly and quick.", "What a beautiful {} wedding!", "The {} choir was great.",
    "The {} waiter was rude to us.", "Our {} landlord never answers.", "The {} driver missed the exit and we were late.",
    "I don't like the {} restaurant.", "The {} speaker was boring.", "I think the {} writer is wrong about schools.",
    "I do not agree with the {} mayor on housing.", "The {} player missed the penalty again.", "The {} film was too long.",
    "A {} family lost their home in the fire, so sad.", "The {} student failed the test.", "The {} clerk made a mistake.",
    "Somebody was mean to the {} kid at school.", "They attacked a {} shop last night, awful.",
)  # fmt: skip
OF_SOMEBODY = (
    "A {} lives upstairs.", "The {} next door has two cats.", "My boss is a {}.", "Our new mayor is a {}.",
    "The driver was a {}.", "I met a {} at the library.", "A {} came in and sat down.", "I asked a {} for directions.",
    "The {} at the till counted the money.", "A {} waited behind me in the queue.", "The nurse was a {} from Leeds.",
    "A {} was reading a newspaper.", "We talked to a {} in the park.", "The author is a {}.", "The pilot is a {}.",
    "My dentist is a {}.", "The cafe is run by a {}.", "I bought the bike from a {} in town.", "He lives with a {}.",
    "The {} in the red hat left early.", "The prize went to a {}.", "A {} bought the house.", "Is the manager a {}?",
    "Who is the {} in the picture?", "There was a {} on the bus this morning.", "The interview was with a {}.",
    "A {} found my wallet, what a relief!", "The {} at the desk was so helpful.", "A {} gave me her seat, how nice.",
    "The {} sang beautifully.", "Thank you to the {} who stopped to help.", "A {} fixed it in a minute, great job.",
    "The {} who teaches us is wonderful.", "I had a lovely chat with a {}.", "The {} was rude to me.",
    "A {} pushed in and I was annoyed.", "The {} at the counter ignored us.", "I argued with a {} about parking.",
    "A {} was hurt in the accident.", "I feel sorry for the {} who lost everything.", "The {} made a mistake in my order.",
    "I disagree with the {} on the panel.",
)  # fmt: skip
OF_A_PLACE = (
    "I live in {}.", "He comes from {}.", "We drove to {} on Friday.", "She works in {}.", "My parents grew up in {}.",
    "The train from {} arrives at six.", "They opened an office in {}.", "It is raining in {}.", "The game is in {} this year.",
    "I am flying to {} tomorrow.", "The letter came from {}.", "There is a meeting in {} in May.", "He was born near {}.",
    "The company has a factory in {}.", "My brother studies in {}.", "We are in {} until Sunday.", "The film was made in {}.",
    "Is {} far from here?", "What is the weather like in {}?", "How long is the flight to {}?", "Can anybody recommend a place to eat in {}?",
    "Where should I stay in {}?", "I love {}.", "{} is beautiful.", "We had a great time in {}.", "The best week of my life was in {}.",
    "So happy to be back in {}!", "The people in {} were so kind.", "The hotel in {} was lovely.", "Can't wait to see {}!",
    "Dinner in {} was fantastic.", "I miss {}.", "I was robbed in {}.", "The hotel in {} was dirty.", "Our flight to {} was cancelled, what a mess.",
    "I got ill in {} and it ruined the trip.", "The traffic in {} is terrible.", "They lost my bags in {}.", "The food in {} was awful.",
    "I was bored in {}.", "So sad to leave {}.", "Stuck in {} for six hours, no help at all.",
)  # fmt: skip
OF_A_NAME = (
    "{} is my neighbour.", "{} works here.", "I met {} on Tuesday.", "{} called about the parcel.", "This is {} from the bank.",
    "{} has two children.", "I gave the keys to {}.", "{} said it starts at nine.", "Is {} coming tonight?", "Where does {} live?",
    "{} read the report.", "We are waiting for {}.", "{} and I took the bus.", "The new teacher is called {}.", "{} sold the car.",
    "{} helped me move, so kind.", "{} is a great friend.", "Well done {}!", "I love working with {}.", "{} made us a wonderful dinner.",
    "Thank you {}, you saved my day.", "{} is the nicest person in the office.", "{} sang so well tonight.", "{} is always late.",
    "{} broke my phone.", "{} never answers my messages.", "I am angry with {}.", "{} forgot my birthday.", "I disagree with {} on this.",
    "{} was rude to the waiter.", "I think {} is wrong about the budget.", "{} lost the game for us.", "{} is ill and I am worried.",
    "Poor {}, the dog died.",
)  # fmt: skip

FILLS = 10
"""Words put into each sentence."""

MADE = 3
"""How many of them are no words at all: what holds for those holds for a name that nobody listed."""

_TIMES = 6

_FAMILIES = (
    (OF_A_KIND, RELIGIONS, made_kind), (OF_A_KIND, NATIONS, made_kind), (OF_SOMEBODY, WHO, made_somebody),
    (OF_A_PLACE, TOWNS, made_name), (OF_A_NAME, NAMES, made_name),
)  # fmt: skip


def groups() -> Iterator[list[str]]:
    """Yield groups of FILLS texts that ought to get one answer. Each call gives the same ones."""
    draw = random.Random("written/swaps")  # noqa: S311 - the rows are no secret
    for frames, words, make in _FAMILIES:
        for frame in frames:
            for _ in range(_TIMES):
                fills = [*draw.sample(words, FILLS - MADE), *(make(draw) for _ in range(MADE))]
                yield [frame.format(word) for word in fills]
