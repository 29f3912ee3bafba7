"""Emoji in words: short names for the common ones, Unicode's own name for the rest."""

import unicodedata

BASES = (
    r"\U0001F300-\U0001F3FA\U0001F400-\U0001F64F\U0001F680-\U0001F6FF\U0001F7E0-\U0001F7EB"
    r"\U0001F900-\U0001F9FF\U0001FA70-\U0001FAFF\u2600-\u27BF\u2B50\u2B55\u2B1B\u2B1C\u203C\u2049\u231A\u231B"
)
FLAGS = r"\U0001F1E6-\U0001F1FF"
STARTS = FLAGS + BASES
"""The characters that an emoji begins with, as the inside of a pattern's brackets."""

_BASE = f"[{BASES}]"
_AFTER = r"[\uFE0F\uFE0E\U0001F3FB-\U0001F3FF]*"
EMOJI = rf"(?:[{FLAGS}]{{2}}|{_BASE}{_AFTER}(?:\u200D{_BASE}{_AFTER})*)"
"""A pattern for one emoji with all that belongs to it: variation, skin tone, joined parts, flags."""

SHORT_NAMES = {
    "😀": "happy", "😃": "happy", "😄": "happy", "😁": "grin", "😆": "laughing", "😅": "nervous laugh",
    "😂": "laughing", "🤣": "laughing hard", "🙂": "slight smile", "🙃": "ironic smile", "😉": "wink",
    "😊": "warm smile", "😇": "angel", "🥰": "in love", "😍": "in love", "🤩": "amazed", "😘": "kiss",
    "😗": "kiss", "😚": "kiss", "😙": "kiss", "😋": "yummy", "😛": "playful", "😜": "playful wink",
    "🤪": "crazy", "😝": "playful", "🤑": "money", "🤗": "hug", "🤭": "giggle", "🤫": "hush",
    "🤔": "thinking", "🤐": "silent", "🤨": "doubt", "😐": "neutral face", "😑": "unimpressed",
    "😶": "speechless", "😏": "smirk", "😒": "annoyed", "🙄": "rolling eyes", "😬": "awkward",
    "🤥": "lying", "😌": "relieved", "😔": "sad", "😪": "sleepy", "🤤": "drooling", "😴": "sleeping",
    "😷": "sick", "🤒": "sick", "🤕": "hurt", "🤢": "disgusted", "🤮": "vomiting", "🤧": "sick",
    "🥵": "hot", "🥶": "freezing", "🥴": "dizzy", "😵": "dizzy", "🤯": "mind blown", "🤠": "cowboy",
    "🥳": "celebrating", "😎": "cool", "🤓": "nerd", "🧐": "curious", "😕": "confused", "😟": "worried",
    "🙁": "sad", "☹": "sad", "😮": "surprised", "😯": "surprised", "😲": "astonished", "😳": "embarrassed",
    "🥺": "pleading", "😦": "dismayed", "😧": "anguished", "😨": "afraid", "😰": "anxious", "😥": "sad",
    "😢": "crying", "😭": "sobbing", "😱": "screaming in fear", "😖": "frustrated", "😣": "suffering",
    "😞": "disappointed", "😓": "stressed", "😩": "exhausted", "😫": "tired", "🥱": "bored",
    "😤": "frustrated", "😡": "furious", "😠": "angry", "🤬": "swearing", "😈": "devil smile",
    "👿": "angry devil", "💀": "dead", "☠": "dead", "💩": "crap", "🤡": "clown", "👻": "ghost",
    "😺": "happy cat", "😻": "in love", "😿": "crying cat", "🙈": "embarrassed monkey",
    "❤": "love", "♥": "love", "🧡": "love", "💛": "love", "💚": "love", "💙": "love", "💜": "love",
    "🖤": "black heart", "🤍": "love", "🤎": "love", "💔": "broken heart", "💕": "love", "💞": "love",
    "💓": "love", "💗": "love", "💖": "love", "💘": "love", "💝": "love", "❣": "love", "💋": "kiss",
    "💯": "one hundred percent", "💢": "anger", "💥": "boom", "💦": "sweat", "💤": "sleep",
    "👍": "thumbs up", "👎": "thumbs down", "👌": "okay", "✌": "victory", "🤞": "fingers crossed",
    "🤘": "rock on", "🤙": "call me", "👏": "applause", "🙌": "hooray", "🙏": "please thank you",
    "💪": "strong", "🤝": "handshake", "👊": "fist bump", "✊": "raised fist", "🖕": "middle finger",
    "👋": "hello", "🤷": "shrug", "🤦": "facepalm", "💃": "dancing", "🕺": "dancing", "👀": "eyes",
    "🎉": "party", "🎊": "party", "🎂": "birthday cake", "🎁": "present", "🎄": "christmas", "🏆": "trophy",
    "🥇": "gold medal", "⭐": "star", "🌟": "star", "✨": "sparkles", "🔥": "fire", "⚡": "lightning",
    "🌈": "rainbow", "☀": "sunny", "🌞": "sunny", "🌹": "rose", "🌸": "flower", "💐": "flowers",
    "🍀": "lucky", "🍻": "cheers", "🍺": "beer", "🍷": "wine", "🎶": "music", "🎵": "music",
    "✅": "yes check", "✔": "yes check", "❌": "no cross", "❗": "!", "❓": "?", "‼": "!!", "⁉": "!?",
    "⚠": "warning", "🚨": "alarm", "⏰": "alarm clock", "💸": "money gone", "💰": "money", "🗑": "trash",
    "🚀": "rocket", "📈": "rising", "📉": "falling", "👑": "crown", "😽": "kiss", "🫶": "love",
    "🫡": "salute", "🥲": "smiling through tears", "🫠": "melting", "🫣": "peeking", "🥹": "touched",
}  # fmt: skip
_EXTRAS = {"\ufe0f", "\ufe0e", *map(chr, range(0x1F3FB, 0x1F400))}


def emoji_name(emoji: str) -> str:
    """Return an emoji in lower-case words. Only its first part counts: what is joined to it is detail."""
    first = emoji[0]
    if "\U0001f1e6" <= first <= "\U0001f1ff":
        return "flag"
    if first in SHORT_NAMES:
        return SHORT_NAMES[first]
    return unicodedata.name(first, "emoji").lower().replace("-", " ") if first not in _EXTRAS else "emoji"
