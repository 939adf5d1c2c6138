"""The words of the forms in which an answer may be stated, by language; all are folded (`folding.fold`).

A word that is missing here costs a refused answer, never a wrong one. `REVISIONS`, `HEDGES` and `TURNS` only refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.parsing.folding import fold


def _listed(text: str) -> list[str]:
    """What stands between `|` and ends of lines."""
    return [stripped for part in re.split(r" \| |\n", text) if (stripped := part.strip())]


def _words(text: str) -> tuple[str, ...]:
    """Folded, the longest first, as an alternation of a pattern needs them."""
    return tuple(sorted({fold(word) for word in _listed(text)}, key=lambda word: (-len(word), word)))


def any_of(words: Iterable[str]) -> str:
    """A pattern for any of these words, without a group around it."""
    return "|".join(map(re.escape, words))


def _patterns(text: str) -> str:
    return "|".join(_listed(text))


MARKERS = _words(
    """
    final score | final rating | final answer | final label | score | rating | answer | grade | label | class | category
    sentiment | topic | result | stars | star rating | verdict | prediction | predicted label | classification | emotion
    intent | intention | priority | severity | polarity | stance | tone | toxicity | subject | genre | type | domain
    department | language | tag | rating score | sentiment score | overall rating | overall score | overall sentiment
    level | urgency level | risk | age group | verdict label
    decision | choice | option | mood | feeling | attitude | opinion | quality | relevance | difficulty | urgency
    bewertung | note | punktzahl | punkte | sterne | antwort | ergebnis | wertung | stimmung | kategorie | klasse
    etikett | thema | gefühl | emotion | absicht | priorität | einstufung | klassifikation | klassifizierung
    wert | stufe | dringlichkeit | altersgruppe | rubrik | gesamturteil | urteil
    sternebewertung | gesamtbewertung | endnote | tonalität | gesamtnote
    réponse | étoiles | évaluation | catégorie | classe | note | étiquette | sentiment | thème | sujet | émotion | score
    niveau | valeur | niveau d'urgence | urgence | rubrique | tranche d'âge | intention
    priorité | résultat | classement | classification | note finale | réponse finale | tonalité | appréciation
    sentimiento | puntuación | puntaje | calificación | nota | respuesta | estrellas | valoración | categoría | clase
    nivel | valor | urgencia | grupo de edad | sección
    etiqueta | tema | emoción | resultado | prioridad | clasificación | respuesta final | intención
    punteggio | voto | valutazione | risposta | categoria | classe | etichetta | sentimento | stelle | risultato
    giudizio | livello | valore | urgenza | fascia d'età
    emozione | argomento | classificazione | priorità
    pontuação | avaliação | resposta | nota | categoria | classe | rótulo | etiqueta | sentimento | estrelas
    nível | valor | urgência | faixa etária
    classificação | resultado | emoção | tópico | tema | prioridade
    beoordeling | cijfer | score | antwoord | categorie | klasse | label | sentiment | sterren | resultaat | onderwerp
    emotie | waardering
    betyg | poäng | svar | kategori | klass | etikett | känsla | sentiment | stjärnor | resultat | ämne | omdöme
    karakter | bedømmelse | vurdering | svar | kategori | klasse | etiket | stemning | stjerner | resultat | emne
    poeng
    terningkast
    arvosana | pisteet | pistemäärä | vastaus | luokka | kategoria | tunne | tunnesävy | sävy | tähdet | tulos | aihe
    arvio
    ocena | wynik | odpowiedź | kategoria | klasa | etykieta | sentyment | gwiazdki | liczba gwiazdek | temat | emocja
    wydźwięk | nastrój
    hodnocení | známka | skóre | odpověď | kategorie | třída | štítek | sentiment | hvězdičky | výsledek | téma
    počet hvězdiček | hodnotenie | odpoveď | trieda
    értékelés | pontszám | válasz | kategória | osztály | címke | hangulat | csillagok | eredmény | téma
    punctaj | notă | scor | răspuns | categorie | clasă | etichetă | sentiment | stele | rezultat | evaluare
    puan | derecelendirme | değerlendirme | yanıt | cevap | kategori | sınıf | etiket | duygu | duygu durumu | yıldız
    sonuç | konu | skor | görüş | tahmin
    nilai | peringkat | skor | jawaban | kategori | kelas | label | sentimen | bintang | hasil | topik | emosi
    penilaian
    rating | klasifikasi
    điểm | điểm số | đánh giá | xếp hạng | câu trả lời | trả lời | đáp án | danh mục | thể loại | lớp | nhãn | cảm xúc
    tình cảm | sắc thái | số sao | kết quả | chủ đề | phân loại
    คะแนน | เรตติ้ง | คำตอบ | หมวดหมู่ | ประเภท | ป้ายกำกับ | ความรู้สึก | อารมณ์ | ดาว | ผลลัพธ์ | หัวข้อ | ระดับคะแนน
    คลาส | การจัดประเภท
    التقييم | تقييم | الدرجة | النتيجة | الإجابة | الجواب | الفئة | التصنيف | تصنيف | المشاعر | الشعور | النجوم
    عدد النجوم | الموضوع | القسم | التسمية | الإجابة النهائية | العاطفة
    דירוג | ציון | תשובה | קטגוריה | תווית | סנטימנט | רגש | כוכבים | סיווג
    امتیاز | نمره | پاسخ | جواب | دسته | برچسب | احساس | احساسات | ستاره | نتیجه | موضوع
    रेटिंग | स्कोर | अंक | उत्तर | जवाब | श्रेणी | वर्ग | लेबल | भावना | सितारे | परिणाम | विषय | मूल्यांकन
    अंतिम उत्तर
    वर्गीकरण
    রেটিং | স্কোর | উত্তর | শ্রেণী | লেবেল | অনুভূতি | ফলাফল | বিষয়
    оценка | рейтинг | балл | баллы | ответ | категория | класс | метка | тональность | настроение | звезды | звёзды
    результат | тема | эмоция | итоговая оценка | классификация
    оцінка | рейтинг | бал | відповідь | категорія | клас | мітка | тональність | настрій | результат | тема | оценка
    отговор | категория | етикет
    βαθμολογία | βαθμός | απάντηση | κατηγορία | ετικέτα | συναίσθημα | αξιολόγηση | αστέρια | αποτέλεσμα | θέμα
    総合評価 | 評価 | スコア | 点数 | 得点 | 評点 | 回答 | 答え | 感情 | ラベル | カテゴリー | カテゴリ | 分類 | 星の数
    判定 | 結果 | 極性 | トピック | 最終回答 | センチメント
    種類 | クラス
    评分 | 评价 | 得分 | 分数 | 打分 | 答案 | 回答 | 評分 | 評價 | 分數 | 星级 | 情感 | 情感倾向 | 标签 | 类别 | 分类
    结果 | 主题 | 话题 | 情绪 | 判断 | 類別 | 標籤
    分類 | 最终答案 | 领域 | 意图
    점수 | 평점 | 평가 | 별점 | 정답 | 답변 | 답 | 등급 | 감성 | 감정 | 분류 | 라벨 | 카테고리 | 결과 | 주제 | 최종 답변
    레이블 | 범주
    優先度 | 緊急度 | 重要度 | レベル | 年齢層 | 意図 | 紧急程度 | 优先级 | 等级 | 级别 | 年龄段 | 우선순위 | 긴급도
    수준 | 의도
    öncelik | seviye | değer | aciliyet | puanı | duygusu | prioritas | tingkat | mức độ | độ ưu tiên | ระดับ | الأولوية
    المستوى | القيمة | प्राथमिकता | स्तर | приоритет | уровень | prioriteit | niveau | priorytet | poziom | priorita
    úroveň
    分類結果 | 判定結果 | 感情分析結果 | 感情分析 | 分类结果 | 情感分类 | 情感分析 | 判断结果 | 分類結果 | 분류 결과
    감정 분석
    감성 분석 | 감성 분류
    """
)
"""Words that announce an answer when `:`, `=` or a form of "to be" follows."""

PLURALS = _words(
    """
    labels | emotions | categories | classes | tags | topics | sentiments | answers | kategorien | emotionen
    étiquettes
    émotions | etiquetas | emociones | etichette | emozioni | emoções | emocje | эмоции | duygular | etiketler | emosi
    nhãn | cảm xúc | ป้ายกำกับ | المشاعر | भावनाएँ | भावनाएं | 情绪标签 | 感情ラベル | 감정 라벨 | tunteet | emoties
    emoce
    """
)
"""Markers of a list of names."""

CHOICES = _words(
    """
    option | choice | class | category | label | answer | kategorie | klasse | antwort | clase | categoría | opción
    respuesta | catégorie | classe | réponse
    """
)
"""Markers that need no connector: "Option B"."""

DETERMINERS = _words(
    """
    the | a | an | my | this | its | your | our | that
    der | die | das | den | dem | ein | eine | einer | einem | einen | meine | mein | unsere | diese | dieser | dieses
    le | la | l' | les | un | une | mon | ma | votre | cette | cet | ce | el | los | las | una | mi | tu | su | esta
    este | il | lo | gli | i | uno | mio | mia | questa | questo
    o | a | os | as | um | uma | meu | minha | esta | este | essa | esse | de | het | een | mijn | deze | dit | en | ett
    den | det | min | mitt | mit | denne
    ten | ta | to | moja | mój | moje | tento | tato | bu | şu | benim | ini | itu | này | haza | هذا | هذه | यह | इस
    это | эта | этот | моя | мой | the
    """
)
ADJECTIVES = _words(
    """
    final | overall | correct | best | right | predicted | assigned | appropriate | most appropriate | most fitting
    most suitable | most likely | suitable | fitting | best matching | best fitting | chosen | selected | numeric
    numerical | single | corresponding | general | main | primary | closest
    endgültige | richtige | passende | gesamte | beste | passendste | finale | abschließende | globale | générale
    bonne
    correcte | meilleure | appropriée | correcta | mejor | más adecuada | general | global | final | adecuada | corretta
    migliore | complessiva | correta | melhor | geral | ostateczna | końcowa | итоговая | общая | правильный
    правильная
    nihai | genel | doğru | akhir | keseluruhan | cuối cùng | النهائي | النهائية | الصحيحة | अंतिम | सही | कुल
    最終的な | 最終
    全体的な | 正しい | 适合的 | 最终 | 整体 | 总体 | 正确 | 최종 | 전체 | 전반적인 | 올바른
    """
)
SUBJECTS = _words(
    """
    review | text | comment | sentence | message | product | item | tweet | document | customer review | article | post
    question | email | passage | query | statement | utterance | request | ticket
    rezension | bewertung | text | kommentar | satz | nachricht | beitrag | kundenbewertung | produkt | artikel
    anfrage
    avis | texte | commentaire | critique | phrase | message | produit | article | reseña | texto | comentario | opinión
    frase | mensaje | recensione | testo | commento | avaliação | comentário | resenha | mensagem | recensie | tekst
    opmerking | recensionen | texten | opinia | recenzja | komentarz | recenze | отзыв | текст | комментарий | yorum
    metin | inceleme | cümle | ulasan | teks | komentar | văn bản | bài đánh giá | nhận xét | المراجعة | النص | التعليق
    समीक्षा | टेक्स्ट | पाठ | रिव्यू | टिप्पणी
    """
)
"""What is judged: "this review is ..."."""

NOUNS = _words(
    """
    sentiment | review | class | category | label | tone | rating | text | one | comment | topic | intent | emotion
    polarity | sentence
    bewertung | stimmung | kategorie | klasse | avis | sentiment | catégorie | classe | sentimiento | reseña | categoría
    clase
    """
)
"""What may follow a name in a sentence: "a positive review"."""

STATES = _words(
    """
    termasuk | termasuk kategori | adalah | merupakan
    is classified as | is labeled as | is labelled as | is categorized as | can be classified as | can be labeled as
    can be categorized as | should be classified as | should be labeled as | should be categorized as
    would be classified as | belongs to | belongs to the category | falls under | falls into | expresses | conveys | has
    shows | is about | gehört zu
    """
)
"""What may stand between "this review" and a name, beside a form of "to be"."""

THAT = _words("this | it | that | es | das | dies | esto | questo | dit | det | это | bu | ini | यह | هذا | هذه")
THAT_IS = _words("هذا | هذه | это | bu | ini | it's | that's | c'est | es | este es")
"""What a name may follow without a verb of its own."""

JUDGED = _words("author's | customer's | user's | reviewer's | writer's | speaker's | buyer's | text's | review's | person's")
UNARTICLED = _words(
    """
    arvostelu | teksti | ulasan ini | teks ini | bu yorumun duygusu | отзыв | текст | комментарий | yorum | metin | ulasan
    teks | المراجعة | النص | التعليق | समीक्षा | recenzja | recenze
    """
)
"""What is judged, in languages without articles."""

THIRD_PERSON = _words(
    """
    it | its | this | the | that | there | das | es | dies | diese | dieser | dieses | die | der | il | elle | ce
    cette
    la | le | el | esta | este | questo | questa | o | это
    """
)
INTERJECTIONS = _words(
    """
    yes | no | ok | okay | sure | good | great | fine | well | right | nice | sorry | hello | true | false | none
    nothing | ja | nein | oui | non | si | sí | gut | schön | klar | richtig | bon | bien | bueno | buono | bene | bom
    bem
    goed | prima | bra | godt | hyvä | dobrze | dobry | dobře | хорошо | ладно | да | нет | tamam | iyi | evet | hayır
    baik
    oke | ya | tidak | tốt | được | vâng | ดี | ได้ | ครับ | ค่ะ | جيد | حسنا | نعم | لا | अच्छा | ठीक | हाँ | नहीं
    好 | 好的 | 是
    是的 | 对 | 行 | はい | いいえ | 良い | 네 | 예 | 좋아 | 좋음 | 아니오 | alright | all right
    """
)
"""Names that begin a sentence of any kind: what follows one must be about the text ("No, it is ...", not "No, I can't ...")."""

INTENSIFIERS = _words(
    "very | clearly | definitely | strongly | overall | sehr | eindeutig | klar | très | clairement | muy | claramente"
)
INTENSIFIERS_GLUED = "非常に|とても|非常|很|매우|아주"
COPULAS_AFTER = (
    "である|でした|です|だと思います|だと考えます|だ|となります|になります|に分類されます|的?입니다|적입니다|적이다|적"
    "|이에요|예요|이다|임|的|类|類|ครับ|ค่ะ| है| हैं| olarak| dir| einstufen| bewerten| klassifizieren| einordnen"
)
"""Patterns of what ends a sentence after a name, in languages whose verb comes last or is glued to the name."""

COPULAS = _words(
    """
    is | be | was | would be | should be | will be | must be | is: | seems to be | ist | lautet | beträgt | wäre | est
    serait | es | sería | è | sarebbe | é | seria | är | er | on | to | jest | je | este | adalah | ialah | là | هو | هي
    has been | equals
    """
)
BECAUSE = _words(
    """
    because | since | as | due | weil | da | denn | parce | car | puisque | porque | ya que | pues
    perché | poiché | pois | omdat | want | eftersom | fordi | koska | ponieważ | bo | protože | mert | deoarece | çünkü
    karena | sebab | vì | bởi vì | เพราะ | لأن | क्योंकि | потому что | так как | поскольку | тому що | επειδή | 因为
    因為
    ため | なので | から | 왜냐하면 | 때문
    """
)
OPENERS = _words(
    """
    gerne | gern | natürlich | selbstverständlich | hier ist | bien sûr | voici | por supuesto | claro | aquí está
    certo
    ecco | claro que sim | aqui está | natuurlijk | självklart | oczywiście | oto | jistě | samozřejmě | tabii
    elbette | tentu
    baiklah | chắc chắn rồi | ได้เลย | بالتأكيد | بالطبع
    ज़रूर | बिल्कुल | конечно | もちろんです | もちろん | 承知しました | 好的 | 当然
    當然 | 물론입니다 | 물론이죠 | 네
    sure | okay | ok | certainly | of course | so | thus | therefore | hence | overall | in summary | in conclusion
    to conclude | finally | and | i think | i believe | i would say | in my opinion | here is | here's | then
    based on this | based on the text | based on the review | based on that | given this | for this review
    for this text
    as a result | after analysis | after analyzing the text | also | daher | deshalb | somit | insgesamt | also ist
    meiner meinung nach | ich denke | donc | ainsi | au final | à mon avis | en résumé | por lo tanto | por tanto
    en mi opinión | en resumen | así que | quindi | pertanto | a mio parere | portanto | logo | dus | därför | więc
    zatem | takže | tak | итак | таким образом | следовательно | bu nedenle | dolayısıyla | jadi | oleh karena itu
    vì vậy | do đó | ดังนั้น | لذلك | لذا | إذن | इसलिए | अतः | したがって | よって | そのため | つまり | 以上より
    因此 | 所以 | 综上 | 综上所述
    따라서 | 그러므로 | 그래서 | 결론적으로
    """
)
STATED = _words(
    """
    espresso | exprimé | expresado | expressado | ausgedrückt | uitgedrukt | في | هذا | النص | المراجعة | insgesamt
    that | which | fits | best | matches | expressed | conveyed | in | here
    to | for | of | this | that | the | my | your | given | review | text | comment | product | item | sentence
    message
    provided | above | below | by | author | customer | would | should | will | tweet | post | passage | document
    article
    für | die | diese | dieser | dieses | den | der | des | rezension | textes | bewertung | kommentars | pour | cet
    cette | ce | du | le | la | de | critique | avis | texte | para | esta | este | reseña | texto | del | el | di
    della
    questa | recensione | testo | do | da | desta | avaliação
    untuk | ulasan | teks | ini | của | bài | này | dla | tej | recenzji | tego | tekstu | этого | отзыва | текста
    """
)
"""What may stand between a marker and its connector: "the sentiment of this review is"."""

_NUMBERS = (
    "zero one two three four five six seven eight nine ten",
    "null eins zwei drei vier fünf sechs sieben acht neun zehn",
    "zéro un deux trois quatre cinq six sept huit neuf dix",
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez",
    "zero uno due tre quattro cinque sei sette otto nove dieci",
    "zero um dois três quatro cinco seis sete oito nove dez",
    "nul een twee drie vier vijf zes zeven acht negen tien",
    "noll ett två tre fyra fem sex sju åtta nio tio",
    "nul en to tre fire fem seks syv otte ni ti",
    "nolla yksi kaksi kolme neljä viisi kuusi seitsemän kahdeksan yhdeksän kymmenen",
    "zero jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć",
    "nula jedna dva tři čtyři pět šest sedm osm devět deset",
    "sıfır bir iki üç dört beş altı yedi sekiz dokuz on",
    "nol satu dua tiga empat lima enam tujuh delapan sembilan sepuluh",
    "không một hai ba bốn năm sáu bảy tám chín mười",
    "ноль один два три четыре пять шесть семь восемь девять десять",
    "нуль одна дві три чотири п'ять шість сім вісім дев'ять десять",
    "صفر واحد اثنان ثلاثة أربعة خمسة ستة سبعة ثمانية تسعة عشرة",
    "शून्य एक दो तीन चार पांच छह सात आठ नौ दस",
    "ศูนย์ หนึ่ง สอง สาม สี่ ห้า หก เจ็ด แปด เก้า สิบ",
    "μηδέν ένα δύο τρία τέσσερα πέντε έξι επτά οκτώ εννέα δέκα",
    "영 일 이 삼 사 오 육 칠 팔 구 십",
    "영 하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉 열",
    "〇 一 二 三 四 五 六 七 八 九 十",
    "零 壹 贰 叁 肆 伍",
    "零 壱 弐 参",
)
_OTHER_MEANINGS = frozenset(("un", "um", "to", "on", "en", "een", "ni", "ti", "no", "sei", "sex"))
SPELLED: dict[str, int] = {
    word: value for words in _NUMBERS for value, word in enumerate(map(fold, words.split())) if word not in _OTHER_MEANINGS
}
"""Spelled numbers, save those that are common words of another language."""

REVISIONS = _patterns(
    r"""
    wait | hold on | scratch that | on second thought | on reflection | correction | let me correct | let me reconsider
    let me re-?think | changed? my mind | i take that back | i was wrong | strike that | actually | i mean | or rather
    no, | hmm+ | moment mal | warte | korrektur | doch eher | nein, | attendez | attends | je me corrige | plutôt
    en fait | non, | espera | espere | corrección | mejor dicho | en realidad | aspetta | anzi | correzione | aliás
    correção | na verdade | подожди\w* | стоп | нет, | вернее | исправление | bekle | daha doğrusu | düzeltme | hayir,
    tunggu | ralat | sebenarnya | koreksi | khoan | đợi đã | thực ra | เดี๋ยว | แก้ไข | انتظر | تصحيح | في الواقع | रुको
    रुकिए | असल में | wacht | eigenlijk | vänta | faktiskt | czekaj | właściwie | počkej | 待って | いや、 | いや,
    やっぱり | やはり
    訂正 | 等等 | 等一下 | 不对 | 更正 | 应该是 | 잠깐 | 아니, | 아니요, | 정정 | 다시 생각
    """
)
"""Patterns of second thoughts."""

HEDGES = _patterns(
    r"""
    i can(?:'t|not) | i could(?:n't| not)
    (?:can't|cannot|can not) (?:be|say|tell|determine|classify|rate|answer|decide)
    unable to | not able to | i(?:'m| am) sorry | i don't know | do not know | not sure | unsure | unclear | uncertain
    impossible to | maybe | perhaps | probably | possibly | might be | could be | hard to (?:say|tell) | sarcas\w*
    ironi\w* | ich kann (?:das |es |diese |dies )?nicht | kann nicht | weiß nicht | weiss nicht | vielleicht
    möglicherweise | wahrscheinlich | tut mir leid | unklar | peut-être | peut être | probablement | je ne (?:peux|sais)
    désolée? | impossible de | incertain | quizás | quizá | tal vez | probablemente | no puedo | no sé | lo siento
    forse
    probabilmente | non posso | non so | mi dispiace | talvez | provavelmente | não posso | não sei | desculpe
    возможно
    наверное | вероятно | не могу | не знаю | извините | belki | muhtemelen | bilmiyorum | emin değilim | üzgünüm
    mungkin | barangkali | tidak bisa | tidak dapat | tidak tahu | maaf | có lẽ | có thể | không thể | không biết
    xin lỗi | ไม่แน่ใจ | อาจจะ | ไม่สามารถ | ไม่ทราบ | ขอโทษ | ربما | لا أستطيع | لا أعرف | آسف | عذرا | शायद | माफ
    नहीं कर सकता | पता नहीं | misschien | waarschijnlijk | kan niet | weet niet | sorry | kanske | kan inte | może
    chyba
    nie mogę | nie wiem | možná | nevím | nemohu | たぶん | 多分 | おそらく | かもしれ | わかりません | 分かりません
    できません | 判断できない | 申し訳 | 不明
    也许 | 可能 | 大概 | 无法 | 不能 | 不知道 | 抱歉 | 对不起 | 아마 | 모르겠 | 할 수 없 | 죄송 | 확실하지
    """
)
"""Patterns of refusals and of uncertainty: an answer whose own clause holds one is not certain."""

TURNS = _patterns(
    r"""
    but | however | although | though | except | unless | yet | actually | rather | instead | or | nor | if | aber
    jedoch | allerdings | oder | wenn | sondern | mais | cependant | ou | si | pero | sin embargo | aunque | sino | ma
    però | tuttavia | se | oppure | mas | porém | embora | но | однако | хотя | или | если | ama | fakat | ancak | veya
    tapi | tetapi | namun | atau | kalau | nhưng | hoặc | nếu | แต่ | หรือ | لكن | أو | لو | लेकिन | पर | या | अगर
    maar
    of | men | eller | ale | lub | jednak | no | not | nope | nein | nicht | non | pas | nej | nie | ne | нет | не | não
    nao | ikke | inte | tidak | bukan | değil | không | ไม่ | لا | ليس | नहीं | しかし | だが | ただし | けど | または
    か | いいえ | ない
    ではない | 但 | 但是 | 不过 | 或 | 不 | 否 | 하지만 | 그러나 | 또는 | 아니
    """
)
"""Words with which a clause after an answer may take the answer back."""

INPUTS = _words(
    """
    tekst | recensie | opmerking | opinia | recenzja | komentarz | recenze | yorum metni | testo della recensione
    review | text | input | question | q | user | human | example | comment | tweet | sentence | message | document
    passage | article | headline | customer review | new review | next review | next example | rezension | kommentar
    eingabe | satz | beispiel | frage | avis | texte | entrée | phrase | exemple | commentaire | reseña | texto
    entrada | frase | ejemplo | comentario | recensione | testo | esempio | avaliação | exemplo | отзыв | текст | пример
    вопрос | yorum | metin | örnek | ulasan | teks | contoh | văn bản | câu | đánh giá của khách | ข้อความ | รีวิว
    ตัวอย่าง | النص | المراجعة | مثال | पाठ | समीक्षा | उदाहरण | レビュー | テキスト | 文章 | 文 | 入力 | 例 | 質問
    评论 | 文本 | 输入 | 句子 | 示例 | 例子 | 评价内容 | 評論 | 리뷰 | 텍스트 | 문장 | 입력 | 예시 | 질문
    """
)
"""Words before a colon that begin the text of another example."""
