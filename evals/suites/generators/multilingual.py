# ruff: noqa: E501 (a text and its data stand on one line)
"""Simple questions to be answered in a language: asked in it, asked in English, or asked in a third one.

The languages are those `evals.languages` can tell apart, English left out. What is asked is common knowledge, so that
the language is what is tested; the word asked for is looked for by its stems.
"""

from __future__ import annotations

import random

from evals.languages import NAMES
from evals.suites.generators.base import Item, Plan

MAX_TOKENS = 256
CODES = tuple(code for code in NAMES if code != "en")
QUESTIONS = {
    "cow": "Which farm animal gives us most of the milk we drink?",
    "honey": "What do bees make from nectar?",
    "white": "What colour is fresh snow?",
    "rain": "What falls from the clouds and makes the streets wet on a warm day?",
    "sun": "Which star gives us light during the day?",
    "spring": "Which season comes after winter?",
    "key": "What small metal object opens a locked door?",
    "seven": "How many days are there in a week?",
    "ice": "What does water turn into when it freezes?",
    "tokyo": "What is the capital of Japan?",
    "cairo": "What is the capital of Egypt?",
    "wings": "Which parts of its body does a bird fly with?",
}
STEMS = {
    "de": "kuh,kühe|honig|weiß,weiss|regen|sonne|frühling,frühjahr|schlüssel|sieben,7|eis|tokio,tokyo|kairo|flügel",
    "fr": "vache|miel|blanc|pluie|soleil|printemps|clé,clef|sept,7|glace|tokyo|caire|aile",
    "es": "vaca|miel|blanc|lluvia|sol|primavera|llave|siete,7|hielo|tokio|cairo|ala",
    "it": "mucca,mucche,vacca|miele|bianc|pioggia|sole|primavera|chiave|sette,7|ghiaccio|tokyo,tokio|cairo|ali",
    "pt": "vaca|mel|branc|chuva|sol|primavera|chave|sete,7|gelo|tóquio,tokyo|cairo|asa",
    "nl": "koe|honing|wit|regen|zon|lente,voorjaar|sleutel|zeven,7|ijs|tokio,tokyo|caïro,cairo|vleugel",
    "pl": "krow|miód,miod|biał|deszcz|słońc|wiosn|klucz|siedem,7|lód,lod|tokio|kair|skrzyd",
    "tr": "inek,ineğ,inekl|bal|beyaz|yağmur|güneş|bahar|anahtar|yedi,7|buz|tokyo|kahire|kanat,kanad",
    "ru": "коров|мёд,мед|бел|дожд|солнц|весн|ключ|семь,7|лёд,лед,льд|токио|каир|крыл",
    "el": "αγελάδ|μέλι|λευκ,άσπρ|βροχ|ήλιο|άνοιξη|κλειδ|επτά,εφτά,7|πάγο|τόκιο|κάιρο|φτερ",
    "ar": "بقر|عسل|أبيض,ابيض,بيضاء|مطر|شمس|ربيع|مفتاح|سبع,7,٧|جليد,ثلج|طوكيو|القاهرة|جناح,أجنح",
    "hi": "गाय|शहद,मधु|सफेद,सफ़ेद,श्वेत|बारिश,वर्षा|सूर्य,सूरज|वसंत,बसंत,वसन्त|चाबी,कुंजी|सात,7,७|बर्फ|टोक्यो,तोक्यो|काहिरा|पंख",
    "zh": "牛|蜜|白|雨|太阳,太陽|春|钥匙,鑰匙|七,7|冰|东京,東京|开罗,開羅|翅膀,翼",
    "ja": "牛,うし,ウシ|蜜,はちみつ,ハチミツ|白|雨|太陽|春|鍵,かぎ,カギ|七,7|氷|東京|カイロ|翼,羽,つばさ",
    "ko": "소|꿀|흰,하얀,하얗,백색|비|태양,해|봄|열쇠|일곱,7,칠|얼음|도쿄|카이로|날개",
}
"""Accepted stems by language, in the order of `QUESTIONS`; the first is the one the reference answer uses."""

ASKED = {
    "de": ("Was machen Bienen aus Nektar?|Welcher Stern gibt uns am Tag Licht?|Welche Jahreszeit folgt auf den Winter?|"
           "Wie viele Tage hat eine Woche?|Wie heißt die Hauptstadt von Japan?"),
    "fr": ("Que font les abeilles avec le nectar ?|Quelle étoile nous éclaire pendant la journée ?|Quelle saison vient après "
           "l'hiver ?|Combien de jours y a-t-il dans une semaine ?|Quelle est la capitale du Japon ?"),
    "es": ("¿Qué hacen las abejas con el néctar?|¿Qué estrella nos da luz durante el día?|¿Qué estación viene después del "
           "invierno?|¿Cuántos días tiene una semana?|¿Cuál es la capital de Japón?"),
    "it": ("Che cosa fanno le api con il nettare?|Quale stella ci illumina di giorno?|Quale stagione viene dopo "
           "l'inverno?|Quanti giorni ci sono in una settimana?|Qual è la capitale del Giappone?"),
    "pt": ("O que as abelhas fazem com o néctar?|Que estrela nos dá luz durante o dia?|Que estação vem depois do "
           "inverno?|Quantos dias tem uma semana?|Qual é a capital do Japão?"),
    "nl": ("Wat maken bijen van nectar?|Welke ster geeft ons overdag licht?|Welk seizoen komt na de winter?|"
           "Hoeveel dagen heeft een week?|Wat is de hoofdstad van Japan?"),
    "pl": ("Co pszczoły robią z nektaru?|Która gwiazda daje nam światło w ciągu dnia?|Jaka pora roku następuje po zimie?|"
           "Ile dni ma tydzień?|Jakie miasto jest stolicą Japonii?"),
    "tr": ("Arılar nektardan ne yapar?|Gündüz bize hangi yıldız ışık verir?|Kıştan sonra hangi mevsim gelir?|"
           "Bir haftada kaç gün vardır?|Japonya'nın başkenti neresidir?"),
    "ru": ("Что пчёлы делают из нектара?|Какая звезда даёт нам свет днём?|Какое время года наступает после зимы?|"
           "Сколько дней в неделе?|Какой город является столицей Японии?"),
    "el": ("Τι φτιάχνουν οι μέλισσες από το νέκταρ;|Ποιο άστρο μας δίνει φως την ημέρα;|Ποια εποχή έρχεται μετά τον χειμώνα;|"
           "Πόσες ημέρες έχει μια εβδομάδα;|Ποια είναι η πρωτεύουσα της Ιαπωνίας;"),
    "ar": ("ماذا يصنع النحل من الرحيق؟|ما النجم الذي يمنحنا الضوء في النهار؟|أي فصل يأتي بعد الشتاء؟|"
           "كم يومًا في الأسبوع؟|ما هي عاصمة اليابان؟"),
    "hi": ("मधुमक्खियाँ फूलों के रस से क्या बनाती हैं?|दिन में हमें किस तारे से रोशनी मिलती है?|सर्दी के बाद कौन-सी ऋतु आती है?|"
           "एक सप्ताह में कितने दिन होते हैं?|जापान की राजधानी क्या है?"),
    "zh": "蜜蜂用花蜜酿造什么？|白天哪颗恒星给我们光？|冬天之后是什么季节？|一个星期有几天？|日本的首都是哪里？",
    "ja": ("ミツバチは花の蜜から何を作りますか。|昼間に私たちを照らす星は何ですか。|冬の次に来る季節は何ですか。|一週間は何日ありますか。|"
           "日本の首都はどこですか。"),
    "ko": ("벌은 꽃꿀로 무엇을 만듭니까?|낮에 우리에게 빛을 주는 별은 무엇입니까?|겨울 다음에 오는 계절은 무엇입니까?|일주일은 며칠입니까?|"
           "일본의 수도는 어디입니까?"),
}  # fmt: skip
"""The questions of `ASKED_KEYS` in each language."""

ASKED_KEYS = ("honey", "sun", "spring", "seven", "tokyo")
SENTENCES_ASKED = {
    "de": "Antworte in ein oder zwei ganzen Sätzen.",
    "fr": "Réponds en une ou deux phrases complètes.",
    "es": "Responde con una o dos frases completas.",
    "it": "Rispondi con una o due frasi complete.",
    "pt": "Responda em uma ou duas frases completas.",
    "nl": "Antwoord in een of twee hele zinnen.",
    "pl": "Odpowiedz jednym lub dwoma pełnymi zdaniami.",
    "tr": "Bir veya iki tam cümleyle cevap ver.",
    "ru": "Ответь одним или двумя полными предложениями.",
    "el": "Απάντησε με μία ή δύο ολόκληρες προτάσεις.",
    "ar": "أجب بجملة كاملة أو جملتين.",
    "hi": "एक या दो पूरे वाक्यों में उत्तर दो।",
    "zh": "请用一两个完整的句子回答。",
    "ja": "一つか二つの文で答えてください。",
    "ko": "한두 개의 완전한 문장으로 대답하세요.",
}
REFERENCES = {
    "de": "Die richtige Antwort auf diese Frage ist: {}.",
    "fr": "La bonne réponse à cette question est : {}.",
    "es": "La respuesta correcta a esta pregunta es: {}.",
    "it": "La risposta giusta a questa domanda è: {}.",
    "pt": "A resposta certa a esta pergunta é: {}. Não há outra.",
    "nl": "Het juiste antwoord op deze vraag is: {}.",
    "pl": "Prawidłowa odpowiedź na to pytanie to: {}.",
    "tr": "Bu sorunun doğru cevabı şudur: {}.",
    "ru": "Правильный ответ на этот вопрос: {}.",
    "el": "Η σωστή απάντηση σε αυτή την ερώτηση είναι: {}.",
    "ar": "الجواب الصحيح عن هذا السؤال هو: {}.",
    "hi": "इस प्रश्न का सही उत्तर है: {}।",
    "zh": "这个问题的正确答案是{}。",
    "ja": "この質問の正しい答えは{}です。",
    "ko": "이 질문의 정답은 {}입니다.",
}


def list_stems(code: str, key: str) -> list[str]:
    """The accepted stems of an answer in a language."""
    return STEMS[code].split("|")[list(QUESTIONS).index(key)].split(",")


def make_item(prompt: str, code: str, key: str, category: str) -> Item:
    """One item to be answered in the language `code`."""
    stems = list_stems(code, key)
    expected = {"language": code, "any_of": [stems], "reference": REFERENCES[code].format(stems[0])}
    return Item(prompt, "language", expected, category, MAX_TOKENS)


def make_items(seed: int) -> list[Item]:
    """Five questions in each language, four in English for each, three in another language for each."""
    chance = random.Random(seed)
    items = []
    for key_at, key in enumerate(ASKED_KEYS):
        for code in CODES:
            prompt = f"{ASKED[code].split('|')[key_at]} {SENTENCES_ASKED[code]}"
            items.append(make_item(prompt, code, key, "asked in the language"))
    for code in CODES:
        for key in chance.sample(list(QUESTIONS), 4):
            prompt = f"{QUESTIONS[key]} Answer in {NAMES[code]}, in one or two complete sentences."
            items.append(make_item(prompt, code, key, "asked in English"))
        for other in chance.sample([one for one in CODES if one != code], 3):
            key_at = chance.randrange(len(ASKED_KEYS))
            asked = ASKED[other].split("|")[key_at]
            prompt = f"{asked}\n\nAnswer in {NAMES[code]}, in one or two complete sentences."
            items.append(make_item(prompt, code, ASKED_KEYS[key_at], "asked in a third language"))
    return items


PLANS = (
    Plan(
        name="multilingual",
        title="Answering in the asked language",
        measures="Answering easy questions in 15 languages of 9 scripts; the language and the word asked for are checked.",
        does_not_measure="How well the language is written, or knowledge; a few words of another language go unnoticed.",
        release=1,
        seed=5111,
        chance=0.0,
        make_items=make_items,
    ),
)
