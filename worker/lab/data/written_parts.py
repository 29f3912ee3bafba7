"""The parts that `written` puts together. Plain words; the insults are mild ones."""

# ruff: noqa: E501 - tables of phrases, a few to a line

THINGS = (
    "phone", "camera", "battery", "screen", "hotel", "room", "flight", "movie", "book", "song", "album",
    "game", "app", "update", "restaurant", "pizza", "coffee", "laptop", "headset", "charger", "delivery",
    "parcel", "service", "support", "website", "train", "bus", "car", "bike", "jacket", "dress", "sofa",
    "kettle", "vacuum", "mattress", "concert", "show", "series", "episode", "match", "course", "teacher",
    "doctor", "shop", "bank", "airline", "seat", "meal", "dessert", "printer", "router", "tablet", "watch",
    "speaker", "keyboard", "museum", "park", "beach", "festival", "novel", "ending", "plot", "acting", "price",
)  # fmt: skip
NAMES = (
    "Anna", "Mohammed", "Wei", "Priya", "Carlos", "Fatima", "John", "Olga", "Kwame", "Yuki", "Jamal",
    "Siobhan", "Ahmed", "Lakisha", "Emily", "Darnell", "Hans", "Ingrid", "Mehmet", "Rosa", "Ivan", "Aisha",
    "Pierre", "Giulia", "Nguyen", "Juan", "Sven", "Chloe", "Abdul", "Grace", "Latoya", "Brad", "Tyrone", "Mei",
)  # fmt: skip
PLACES = (
    "London", "Lagos", "Mumbai", "Paris", "Mexico", "Cairo", "Tehran", "Berlin", "Beijing", "Texas", "Israel",
    "Palestine", "Poland", "Brazil", "Kenya", "Japan", "Italy", "Turkey", "Russia", "Ukraine", "Canada",
    "Nigeria", "Syria", "Greece", "Pakistan", "India", "America", "Africa", "Europe", "Iraq", "Haiti", "Korea",
)  # fmt: skip
KINDS = (
    "Muslim", "Christian", "Jewish", "Hindu", "Buddhist", "Sikh", "atheist", "Catholic", "Protestant", "gay",
    "lesbian", "straight", "bisexual", "transgender", "queer", "black", "white", "Asian", "Latino", "African",
    "Mexican", "American", "Chinese", "Indian", "Polish", "Turkish", "Italian", "Russian", "French", "German",
    "Arab", "Nigerian", "Japanese", "Spanish", "Iranian", "Pakistani", "old", "young", "deaf", "blind",
    "disabled", "female", "male", "immigrant", "refugee", "Irish", "Greek", "Korean", "Brazilian", "Swedish",
)  # fmt: skip
PEOPLE = (
    "man", "woman", "neighbour", "family", "couple", "student", "colleague", "driver", "nurse", "chef",
    "friend", "customer", "tourist", "doctor", "teacher", "singer", "author", "player", "waiter", "manager",
)  # fmt: skip

GOOD = (
    "The {thing} is lovely.", "Really happy with this {thing}", "I love the {thing}.", "Best {thing} ever!",
    "What a wonderful {thing}", "The {thing} works perfectly, thank you", "Superb {thing}, well worth it",
    "So pleased with the {thing}!", "A delightful {thing} and a great {other}", "very good {thing}",
    "good {thing}", "The {thing} made my day", "Five stars for the {thing}", "an extremely good {thing}",
)  # fmt: skip
BAD = (
    "The {thing} is terrible.", "Really unhappy with this {thing}", "I hate the {thing}.", "Worst {thing} ever!",
    "What an awful {thing}", "The {thing} broke after {number} days", "Waste of money, this {thing}",
    "So disappointed with the {thing}!", "A dull {thing} and a bad {other}", "very bad {thing}", "bad {thing}",
    "The {thing} ruined my day", "One star for the {thing}", "an extremely bad {thing}", "The {thing} is a joke",
    "I want my money back for the {thing}", "Avoid the {thing}",
)  # fmt: skip
NEGATED_BAD = (
    "The {thing} was not bad.", "not bad at all, this {thing}", "The {thing} isn't bad at all",
    "I have no complaints about the {thing}.", "Nothing wrong with the {thing}!", "The {thing} never lets me down",
    "I could not be happier with the {thing}", "You can't go wrong with this {thing}",
    "The {thing} did not disappoint.", "It wasn't boring for a minute", "The {thing} is far from terrible",
    "couldn't ask for a better {thing}", "I have never had a problem with the {thing}",
    "No one could dislike this {thing}", "I don't hate the {thing}, I quite like it",
)  # fmt: skip
NEGATED_GOOD = (
    "The {thing} was not good.", "not good at all, this {thing}", "The {thing} isn't great",
    "I did not enjoy the {thing}.", "Nothing good about the {thing}", "The {thing} never works",
    "I am not happy with the {thing}", "I can't recommend this {thing}", "I wouldn't buy the {thing} again",
    "The {thing} doesn't work as it should", "It wasn't funny at all", "The {thing} is far from perfect",
    "not worth the money, this {thing}", "I have never liked the {thing}", "No one will enjoy this {thing}",
    "The {thing} is not what I hoped for", "don't waste your time on the {thing}",
)  # fmt: skip
BETTER = (
    "This {thing} is better than the old one", "much better than the last {thing}",
    "The new {thing} beats the other {other}", "faster and quieter than my old {thing}",
    "The {thing} keeps getting better", "I prefer this {thing} to any other", "an improvement on the old {thing}",
    "cheaper than the rest and just as good, this {thing}",
)  # fmt: skip
WORSE = (
    "This {thing} is worse than the old one", "much worse than the last {thing}",
    "The old {thing} was better than this", "slower and louder than my old {thing}",
    "The {thing} keeps getting worse", "I'd take any other {thing} over this one", "a step back from the old {thing}",
    "dearer than the rest and no better, this {thing}",
)  # fmt: skip
NOW_GOOD = (
    "I used to hate the {thing}, now I love it", "At first the {thing} was slow but it is excellent now",
    "The {thing} was a mess last year. Today it is great", "They fixed the {thing} and it works beautifully now",
    "I had doubts about the {thing}, and I was wrong: it is superb", "Once a bad {thing}, now a joy to use",
)  # fmt: skip
NOW_BAD = (
    "I used to love the {thing}, now I hate it", "At first the {thing} was great but it is unusable now",
    "The {thing} was excellent last year. Today it is a mess", "They changed the {thing} and it is awful now",
    "I had high hopes for the {thing}, and it let me down", "Once a good {thing}, now a pain to use",
    "The {thing} used to be good", "What happened to the {thing}? It was so good before",
)  # fmt: skip
TAGGED_GOOD = (
    "New {thing} day #happy", "#BestDayEver at the {thing}", "the {thing} arrived #LoveIt", "#grateful for the {thing}",
    "{thing} time #awesome #fun", "finally got the {thing} #SoHappy",
)  # fmt: skip
TAGGED_BAD = (
    "{thing} again #fail", "#WorstDayEver at the {thing}", "the {thing} arrived #disappointed", "#angry about the {thing}",
    "{thing} time #boring", "still waiting for the {thing} #NeverAgain", "#HateIt this {thing}",
)  # fmt: skip
SARCASM = (
    "Great, the {thing} is late again /s", "Oh wonderful, another broken {thing} 🙄",
    "Yeah right, \"premium\" {thing} 🙄", "Thanks a lot for ruining the {thing} 👏👏", "Just what I needed, a dead {thing}",
    "Love it when the {thing} stops working after {number} minutes", "Brilliant, the {thing} crashed again",
    "Nice job breaking the {thing}, really /s", "Wow, {number} hours on hold. Amazing {thing} 🙃",
)  # fmt: skip
DULL_FACTS = (
    "The {thing} opens at nine.", "The {thing} is on the second floor", "I bought the {thing} on Tuesday",
    "They moved the {thing} to {place}.", "The {thing} comes in two colours", "The meeting is at {number} past ten",
    "There are {number} of them in the box.", "{name} will be in {place} on Monday", "The {thing} weighs {number} grams",
    "My {thing} arrived today", "We took the {thing} from {place} to the coast.", "It is {number} degrees in {place}",
    "The report has {number} pages.", "New {thing} announced for next year", "Tickets for the {thing} go on sale Friday",
    "{name} and {name} watched the {thing} on Saturday", "The {thing} was made in {place}", "I am reading about the {thing}",
    "Watching the {thing} tonight", "{place} plays {place} on Sunday", "The office is closed on Mondays.",
)  # fmt: skip
QUESTIONS = (
    "What time does the {thing} start?", "Does the {thing} come with a {other}?", "Where is the {thing} in {place}?",
    "Who is playing on Sunday?", "How many {thing}s are in a box?", "Has anyone tried the {thing}?",
    "Is the {thing} open tomorrow?", "Which {thing} do you use?", "When is {name} coming to {place}?",
    "Can I return the {thing}?", "Do you ship to {place}?", "Anyone going to the {thing} on Friday?",
)  # fmt: skip
PERSON_PLAIN = (
    "I met a {kind} {person} today.", "My {person} is {kind}.", "The {person} is from {place}", "{kind} people live here",
    "A {kind} {person} moved in next door", "{name} is a {kind} {person}.", "There are {number} {kind} families in town",
    "She married a {kind} man.", "{name} from {place} is the new {person}", "The {person} next to me was {kind}",
    "As a {kind} {person} I live in {place}.", "He spoke to {number} {kind} students", "{name} lives in {place}",
    "Many {kind} people work at the bank.", "The new mayor is {kind}", "{name} called from {place} at noon",
)  # fmt: skip
PERSON_GOOD = (
    "The {kind} {person} was wonderful.", "A {kind} {person} helped us, so kind!", "{name} did a great job",
    "I loved the talk by the {kind} {person}", "{place} is a beautiful place", "{name} from {place} was so friendly",
    "Thank you {name}, you were a great help", "The food at the {kind} family's house was delicious",
    "{name}, our {person}, made the stay perfect",
)  # fmt: skip
PERSON_BAD = (
    "The {kind} {person} had a terrible day.", "I feel sorry for the {kind} {person} who lost everything",
    "{name} was late again, very annoying", "The trip to {place} was a disaster", "{name} forgot our order twice",
    "The {kind} {person} was treated badly", "It rained all week in {place}, so sad", "{name} ruined the {thing}",
)  # fmt: skip
HARSH = (
    "I hate mondays", "I really hate that", "hate this so much", "I can't stand this {thing}", "ugh, this is killing me",
    "damn, missed it again", "what the hell happened to the {thing}", "I hated every minute of it", "this {thing} sucks",
    "It is disgusting how slow the {thing} is", "a dumb mistake, sorry", "what a stupid {thing}", "such crap weather again",
    "I hate how the {thing} looks", "hating the new {thing}", "the {thing} is garbage", "kill the music, will you",
    "my stupid {thing} broke again", "a silly little {thing}, boring and dumb", "That was a crazy idea",
    "This hurts like hell", "sick of this {thing}", "The {thing} is a piece of junk", "I hate to say it, but you are right",
)  # fmt: skip
MIXED = (
    ("the {thing} is nice", "the {other} is awful"), ("I liked the {thing}", "the {other} ruined it"),
    ("good {thing}", "terrible {other}"), ("the {thing} looks great", "it stopped working"),
    ("The {thing} was fine", "I will never come back"), ("It is pretty", "it is useless"),
)  # fmt: skip
INSULTS = (
    "idiot", "moron", "stupid fool", "dumb clown", "pathetic loser", "imbecile", "complete idiot", "jackass",
    "ignorant fool", "scumbag", "dimwit", "worthless liar", "disgusting pig", "braindead troll", "halfwit",
)  # fmt: skip
TOXIC_FRAMES = (
    "You are a {insult}.", "What a {insult} you are", "shut up you {insult}", "{name} is a {insult}",
    "Only a {insult} would say that", "Get lost, {insult}!", "the {person} is a {insult} and always was",
    "Nobody likes you, {insult}", "Go away you {insult}, nobody asked you", "this {insult} runs the {thing}?",
    "you stupid {insult}, read the article", "How did this {insult} get the job",
)  # fmt: skip
CALM_REPLY = (
    "I disagree with you about the {thing}.", "I think that is wrong.", "Please read the article again.",
    "Your argument has a gap.", "That is a bad idea, and here is why.", "The plan for the {thing} makes no sense to me",
    "I would vote against it", "Sorry, but the numbers say otherwise.", "This policy hurts people in {place}.",
    "The decision about the {thing} is a mistake", "I am angry about the {thing}", "The minister should resign",
)  # fmt: skip
EMOJI_GOOD = (
    "😀", "😃", "😄", "😁", "😂", "🤣", "😊", "🥰", "😍", "🤩", "😘", "🤗", "🥳", "😎", "❤️", "💕", "💖", "💙", "👍",
    "👏", "🙌", "💪", "🎉", "✨", "🔥", "💯", "🏆", "😻", "🫶", "👌", "😋", "🙏",
)  # fmt: skip
EMOJI_SAD = (
    "😡", "😠", "🤬", "😢", "😭", "😞", "😔", "💔", "👎", "🤮", "🤢", "😤", "😩", "😫", "😖", "🙄", "😒", "😱", "😨",
    "😰", "☹️", "🙁", "💩", "🤦", "😟",
)  # fmt: skip
EMOJI_PLAIN = ("😐", "😶", "🤔", "📦", "📅", "📍", "⏰", "🚗", "✈️", "🏠", "📷", "🗓️", "👀", "🤷")
EMOJI_FEELING = {
    "😂": ("amusement",), "🤣": ("amusement",), "😡": ("anger",), "😠": ("anger",), "🤬": ("anger",),
    "❤️": ("love",), "🥰": ("love",), "😍": ("love",), "💕": ("love",), "💖": ("love",), "😢": ("sadness",),
    "😭": ("sadness",), "💔": ("sadness",), "😱": ("fear",), "😨": ("fear",), "😮": ("surprise",), "😲": ("surprise",),
    "🙏": ("gratitude",), "🤔": ("curiosity",), "🤮": ("disgust",), "🤢": ("disgust",), "😊": ("joy",), "😀": ("joy",),
    "😃": ("joy",), "🎉": ("excitement", "joy"), "🥳": ("excitement", "joy"), "👏": ("admiration",), "🙄": ("annoyance",),
    "😒": ("annoyance",), "😞": ("disappointment",), "😳": ("embarrassment",), "😌": ("relief",), "👍": ("approval",),
    "👎": ("disapproval",), "🤞": ("optimism",), "😕": ("confusion",), "😰": ("nervousness",),
}  # fmt: skip
