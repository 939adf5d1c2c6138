"""The words by which `bench init` knows columns, splits and scales. Names are lower case, words joined by `_`."""

from __future__ import annotations

from harness.data.guess.name_keys import name_key


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _names(words: str) -> frozenset[str]:
    """As `Column.key` and `Column.words` have them."""
    return frozenset(map(name_key, words.split()))


_TEXTS = """
    text texts review reviews review_body reviewtext review_text comment comments content body sentence
    message tweet document utterance query full_text raw_text clean_text text_clean post_text message_text comment_text
    Bewertungstext Rezension Kommentar Kommentartext Nachricht Satz Beitrag Freitext Inhalt
    texte commentaire commentaires avis contenu phrase texte_avis
    texto comentario comentarios reseña opinión contenido frase mensaje
    comentário avaliação_texto resenha mensagem conteúdo
    testo recensione commento contenuto
    tekst opmerking recensie beoordelingstekst bericht zin
    recension kommentarer omdöme_text innehåll
    anmeldelse kommentarer kommentartekst indhold innhold
    teksti arvostelu kommentti lause viesti sisältö arvosteluteksti
    texti umsögn athugasemd
    opinia komentarz treść recenzja zdanie wiadomość
    recenze komentář věta obsah zpráva text_recenze
    recenzia komentár veta správa
    szöveg vélemény megjegyzés hozzászólás mondat értékelés_szövege
    recenzie comentariu propoziție conținut mesaj
    текст отзыв комментарий сообщение предложение содержание отзывы
    текст_отзыва коментар відгук повідомлення речення
    отзив коментар съобщение
    recenzija komentar rečenica poruka mnenje besedilo sporočilo
    рецензија коментар реченица порука
    κείμενο σχόλιο κριτική μήνυμα πρόταση
    metin yorum yorumlar cümle mesaj içerik
    النص نص التعليق تعليق المراجعة مراجعة الجملة التغريدة
    متن نظر دیدگاه جمله
    טקסט ביקורת תגובה משפט
    متن تبصرہ جملہ
    टेक्स्ट पाठ समीक्षा टिप्पणी वाक्य
    টেক্সট মন্তব্য পর্যালোচনা বাক্য
    உரை கருத்து விமர்சனம்
    ข้อความ รีวิว ความคิดเห็น ประโยค
    văn_bản bình_luận nhận_xét đánh_giá_chi_tiết câu nội_dung
    ulasan teks komentar kalimat isi ayat
    maandishi maoni sentensi
    文本 评论 内容 正文 句子 评论内容 評論 內容 句子 留言
    本文 レビュー テキスト コメント 文章 文 口コミ レビュー本文
    리뷰 텍스트 본문 내용 댓글 문장 리뷰내용
    arvustus kommentaar lause
    atsauksme komentārs teksts
    atsiliepimas komentaras tekstas sakinys
    ressenya comentari
    """
TEXT = (
    _names(_TEXTS),
    _names(
        """
        text review comment content body sentence message tweet document description question utterance abstract
        post opinion feedback
        """
    ),
)
"""Whole names of columns with texts; words in such names."""

TITLES = _names(
    """
    title headline subject summary heading header headlines subtitle subheading tagline
    Titel Überschrift Betreff Zusammenfassung Schlagzeile titre sujet résumé objet_du_message título titular asunto
    resumen titulo assunto resumo titolo oggetto riassunto onderwerp samenvatting kop rubrik ämne sammanfattning
    overskrift emne sammendrag otsikko aihe yhteenveto tiivistelmä titill fyrirsögn tytuł nagłówek temat_wiadomości
    podsumowanie nadpis název titulek předmět shrnutí nadpis zhrnutie cím címsor tárgy összefoglaló titlu subiect rezumat
    заголовок название резюме тема_письма заголовок_отзыва заглавие назва підсумок naslov sažetak povzetek наслов τίτλος
    θέμα_μηνύματος περίληψη başlık özet العنوان عنوان ملخص خلاصه כותרת נושא_ההודעה خلاصہ शीर्षक सारांश শিরোনাম সারাংশ தலைப்பு
    หัวข้อ หัวเรื่อง ชื่อเรื่อง tiêu_đề tóm_tắt judul ringkasan tajuk kichwa 标题 主题 摘要 題目 標題 タイトル 見出し 件名 要約 제목 요약
    pealkiri virsraksts antraštė títol
    """
)
"""Names of columns with the title of the text beside it, and words in such names."""

THINGS = _names(
    """
    product item job user author movie film book song game app page site video show series restaurant hotel course company
    brand recipe shop store channel playlist album artist section category menu produkt produit producto produto prodotto
    商品 产品 製品 상품 영화
    """
)
"""Words beside `title` that make it the name of a thing, which many texts may be about."""

PAIRS = (
    _names("premise hypothesis"),
    _names("question answer"),
    _names("question answers"),
    _names("question context"),
    _names("question passage"),
    _names("question sentence"),
    _names("query passage"),
    _names("query document"),
    _names("query answer"),
    _names("query title"),
    _names("claim evidence"),
    _names("context response"),
    _names("prompt response"),
    _names("prompt completion"),
    _names("instruction response"),
    _names("instruction output"),
    _names("post reply"),
    _names("parent reply"),
    _names("parent comment"),
    _names("target_text context"),
    _names("pros cons"),
    _names("pro contra"),
    _names("pro con"),
    _names("positive negative"),
    _names("positives negatives"),
    _names("advantages disadvantages"),
    _names("likes dislikes"),
    _names("positive_review negative_review"),
    _names("source target"),
    _names("original paraphrase"),
    _names("frage antwort"),
    _names("vorteile nachteile"),
    _names("question réponse"),
    _names("pregunta respuesta"),
    _names("pergunta resposta"),
    _names("вопрос ответ"),
    _names("достоинства недостатки"),
    _names("问题 答案"),
    _names("优点 缺点"),
    _names("質問 回答"),
    _names("질문 답변"),
)
"""Names of two columns whose texts belong together."""

_RATINGS = """
    stars star rating ratings score grade star_rating number_of_stars num_stars overall
    Sterne Stern Bewertung Note Punkte Punktzahl Sternebewertung Wertung
    étoiles étoile note notation évaluation
    estrellas estrella valoración calificación puntuación puntaje nota evaluación
    estrelas estrela avaliação classificação pontuação
    stelle stella voto punteggio valutazione giudizio
    sterren ster beoordeling cijfer score waardering
    stjärnor stjärna betyg poäng omdöme
    stjerner stjerne bedømmelse karakter vurdering terningkast
    tähdet tähti tähtiä tähtimäärä arvosana pisteet arvio arviointi
    stjörnur einkunn
    gwiazdki gwiazdek gwiazdka ocena oceny punkty punktacja
    hvězdy hvězda hvězdičky hvězd hvězdiček hodnocení známka skóre body_hodnocení
    hviezdy hviezd hviezdičky hviezdičiek hodnotenie známka
    csillagok csillag értékelés pontszám osztályzat pont
    stele stea notă rating evaluare punctaj
    звёзды звезды звезда звёзд звезд оценка оценки рейтинг балл баллы балів
    зірки зірок зірка оцінка рейтинг бал
    звезди оценка рейтинг точки
    zvjezdice zvjezdica zvezdice zvezdica ocjena ocena ocene bodovi
    звездице оцена оцене оценка ѕвезди
    αστέρια αστέρι βαθμολογία βαθμός αξιολόγηση
    yıldız yıldızlar yıldız_sayısı puan puanı puanlama değerlendirme
    النجوم نجوم التقييم تقييم الدرجة
    ستاره امتیاز رتبه نمره
    כוכבים דירוג ציון
    ستارے درجہ_بندی ریٹنگ
    रेटिंग सितारे तारे अंक
    রেটিং তারা
    மதிப்பீடு நட்சத்திரங்கள்
    คะแนน ดาว เรตติ้ง
    sao số_sao điểm xếp_hạng đánh_giá
    bintang peringkat nilai skor penilaian
    nyota
    评分 星级 打分 星 分数 評分 星等 星級
    評価 星 星の数 点数 スコア 評点 ★
    평점 별점 별 점수 평가
    tähed hinne hinnang
    zvaigznes vērtējums atzīme
    žvaigždutės žvaigždės įvertinimas balas
    estrelles puntuació valoració
    """
RATED = _names(f"rated scores grades points likert rate satisfaction polarity sentiment severity priority {_RATINGS}")
"""Words in the names of columns whose numbers are a scale."""

STARS = _names(
    """
    stars star Sterne étoiles estrellas estrelas stelle sterren stjärnor stjerner tähdet tähtiä stjörnur gwiazdki gwiazdek
    hvězdy hvězd hvězdičky hvězdiček hviezdy hviezd hviezdičky hviezdičiek csillagok csillag stele звёзды звезды звёзд звезд
    зірки зірок звезди zvjezdice zvezdice звездице ѕвезди αστέρια yıldız yıldızlar النجوم نجوم ستاره כוכבים ستارے सितारे তারা
    ดาว sao bintang nyota 星 星の数 별 tähed zvaigznes žvaigždutės žvaigždės estrelles
    """
)
"""Words for stars: beside one of them, "number" does not speak of a quantity (`number of stars`, `Počet hvězd`)."""

_CATEGORIES = """
    sentiment polarity emotion emotions intent intention topic topics category categories tag mood feeling
    Kategorie Thema Stimmung Gefühl Emotion Absicht
    catégorie thème sujet_thème sentiment émotion intention
    categoría tema sentimiento emoción intención polaridad
    categoria tema sentimento emoção intenção polaridade
    argomento sentimento emozione intenzione polarità
    categorie onderwerp_categorie emotie sentiment thema
    kategori känsla ämne_kategori tema
    følelse kategori emne_kategori
    kategoria tunne luokka aihe_luokka sävy
    flokkur tilfinning
    emocja nastrój temat wydźwięk
    kategorie emoce téma sentiment nálada
    kategória emócia téma
    kategória érzelem téma hangulat
    emoție subiect_categorie categorie
    категория тональность эмоция тема настроение
    категорія тональність емоція
    емоция настроение
    kategorija emocija osjećaj čustvo raspoloženje
    категорија емоција
    κατηγορία συναίσθημα θέμα
    kategori duygu konu
    الفئة فئة التصنيف تصنيف المشاعر الموضوع
    دسته احساس موضوع
    קטגוריה רגש נושא
    زمرہ جذبات موضوع
    श्रेणी भावना विषय
    বিভাগ অনুভূতি বিষয়
    வகை உணர்வு
    หมวดหมู่ อารมณ์ ความรู้สึก ประเภท
    danh_mục cảm_xúc chủ_đề
    kategori emosi sentimen topik
    jamii hisia mada
    类别 情感 情绪 类型 主题类别 評價 评价 類別 情感分析
    カテゴリ カテゴリー 感情 種類 分類
    카테고리 감정 분류 유형 주제
    kategooria emotsioon
    kategorija emocija noskaņojums
    """

LABEL = (
    _names(
        """
        label labels class classes target gold gold_label y tags Klasse Kennzeichnung étiquette classe etiqueta clase
        etichetta etikett klass merkintä etykieta klasa štítek třída štítok trieda címke osztály etichetă clasă метка класс
        мітка клас етикет oznaka razred ознака ετικέτα κλάση etiket sınıf التسمية الوسم برچسب תווית لیبل लेबल লেবেল ป้ายกำกับ
        nhãn kelas lebo 标签 標籤 类标签 ラベル 라벨 레이블 silt klass etiķete etiketė
        """
    ),
    _names(f"star_rating customer_rating {_RATINGS} {_CATEGORIES}"),
    _names(
        f"""
        label class stance toxicity target urgency type {_RATINGS} {_CATEGORIES}
        """
    ),
)
"""Whole names of columns with labels, the surest first; words in such names."""

NO_LABEL = _names(
    """
    id ids uid uuid guid asin isbn sku index idx user username author reviewer name date time timestamp year month day votes
    vote likes like count counts num number helpful useful price age url link source file lang language locale split
    fold annotator rater confidence length country city verified version
    Datum Anzahl Autor Preis Alter Nutzer Name Jahr auteur prix année fecha autor precio usuario nombre data preço
    autore prezzo utente datum antal pris dato kirjoittaja päivämäärä hinta data_dodania liczba cena počet dátum ár
    дата автор цена количество пользователь дата_отзыва ημερομηνία tarih fiyat kullanıcı التاريخ السعر عدد تاریخ วันที่ ราคา
    ngày giá tanggal harga 日期 时间 用户 价格 日付 日時 ユーザー 価格 날짜 작성자 가격
    """
)
"""Words in the names of columns that have few values and are no labels."""

COUNTS = _names("count counts num number anzahl antal liczba počet nombre número numero numero_di عدد số")
"""Those of them that may stand beside a word for stars."""

ABSENT = _set("na n/a #n/a nan null none nil - -- ? missing undefined")
"""What may stand in the place of a label that is missing."""

HIDDEN = _set(
    """
    unk unknown hidden secret masked withheld unlabeled unlabelled unlabel unannotated no_label nolabel not_labeled tbd todo ??
    ??? <unk> [unk] [mask] <hidden> xxx placeholder
    """
)
"""What may stand in the place of a label that is kept back, where no train row has it."""

KEPT_BACK = _set("unknown hidden masked withheld unlabeled unlabelled unannotated placeholder")
"""Words that say so in a cell of two or three words."""

YES_NO = [{"false", "true"}, {"f", "t"}, {"no", "yes"}, {"n", "y"}]
"""Pairs of labels that say nothing without their question."""

ANSWERS = (_set("true yes y t 1"), _set("false no n f 0"))
"""Ways to write yes, and no."""

LANG = _names(
    """
    lang langs language languages locale lang_code language_code lang_id iso_lang text_lang review_language
    Sprache Sprachcode langue idioma lengua língua lingua taal språk sprog kieli kielikoodi tungumál język jazyk nyelv limbă
    limba язык мова език jezik језик γλώσσα dil اللغة لغة زبان שפה भाषा ভাষা மொழி ภาษา ngôn_ngữ bahasa lugha 语言 語言 言語 언어
    keel valoda kalba llengua
    """
)
LANG_WORDS = _names("lang language sprache langue idioma språk język jazyk kieli язык jezik bahasa 语言 言語 언어")
"""Words in the names of such columns."""

SPLIT = _names(
    """
    split set subset partition fold dataset_split usage Aufteilung Teilmenge partición ensemble partage divisione podział
    rozdělení uppdelning выборка разбиение 数据集 划分 分割 분할
    """
)
SPLIT_WORDS = _names("split subset partition")
"""Words in the names of such columns."""

OF_SPLITS = _set("train training test validation dev holdout")
"""Words in the names of columns that say of one split which rows are in it (`is_test`)."""

GROUPED = _names(
    """
    film films movie movies app apps author authors user users username reviewer reviewers customer customers patient patients
    speaker speakers writer writers document documents doc docs article articles book books novel thread threads conversation
    conversations conv dialog dialogs dialogue dialogues chat session sessions interview transcript meeting episode episodes
    product products item items asin sku isbn restaurant restaurants hotel hotels business company company seller shop store
    course courses game games song songs artist album video videos channel package tweeter poster commenter debate case
    Produkt Produkte Artikel Autor Autorin Nutzer Kunde Kundin Patient Dokument Gespräch Buch Firma Spiel
    auteur utilisateur produit livre discussion entreprise jeu película autor usuario producto libro conversación empresa
    filme usuário produto livro conversa autore utente prodotto libro conversazione elokuva käyttäjä tuote
    автор пользователь товар фильм книга документ
    映画 商品 作者 著者 ユーザー 製品 电影 影片 用户 作者 产品 商品 영화 상품 작성자 사용자
    """
)
"""Words for what several texts are about, or by, or from: rows of one are alike."""

OF_GROUPS = _names("id ids uid uuid guid key code name title no nr slug handle screen parent root of the index hash")
"""Words that may stand beside them in a name (`movie_title`); others make it something else (`app_version`)."""

ID = _set("id ids uid uuid guid key index idx nr no")

INDEX = r"\s*|__index_level_\d+__|Unnamed: \d+(_level_\d+)?|index|level_\d+"
"""Names of the index of a pandas table, and of a column without a name: nobody chose them."""

SPLITS = {
    "train": _set("train training trn tr 学習 训练 训练集"),
    "validation": _set("validation valid val dev development eval devel 检验 验证集"),
    "test": _set("test testing tst te heldout held_out holdout hold_out 测试 测试集"),
}

_SCALES = (
    """strongly negative|very negative|sehr negativ|très négatif|muy negativo|非常负面|很差|sangat negatif|매우 부정
    negative|neg|negativ|négatif|negatif|negativo|negativa|负面|消极|差评|ネガティブ|否定的|부정|부정적
    neutral|neu|neutre|neutro|netral|mixed|中性|中评|中立|ニュートラル|중립|중립적
    positive|pos|positiv|positif|positivo|positiva|正面|积极|好评|ポジティブ|肯定的|긍정|긍정적
    strongly positive|very positive|sehr positiv|très positif|muy positivo|非常正面|很好|sangat positif|매우 긍정""",
    """very bad|terrible|awful|horrible|sehr schlecht|très mauvais|muy malo|非常差|非常に悪い|とても悪い
    bad|poor|schlecht|mauvais|malo|差|悪い
    ok|okay|average|fair|medium|neutral|mittelmäßig|moyen|regular|一般|普通
    good|gut|bon|bueno|好|良い
    very good|great|excellent|sehr gut|très bon|muy bueno|非常好|非常に良い|とても良い""",
    """terrible|very poor
    poor|bad
    average|fair|ok
    good
    excellent|very good|outstanding|great""",
    """none|no
    very low|minimal|trivial
    low|minor|mild|niedrig|gering|faible|bajo|低
    medium|moderate|normal|mittel|moyen|medio|中
    high|major|severe|hoch|élevé|alto|高
    very high|critical|urgent|extreme|sehr hoch|blocker""",
    """strongly disagree
    disagree
    neutral|neither agree nor disagree|undecided
    agree
    strongly agree""",
    """never
    rarely|seldom
    sometimes|occasionally
    often|frequently
    always""",
    """very dissatisfied|very unsatisfied
    dissatisfied|unsatisfied
    neutral
    satisfied
    very satisfied""",
    """very unlikely
    unlikely
    neutral|possible|unsure
    likely|probable
    very likely|certain""",
    """easy
    medium|normal
    hard|difficult
    very hard""",
    """one star
    two stars
    three stars
    four stars
    five stars""",
    """one
    two
    three
    four
    five""",
)
SCALES = [
    {word: step for step, words in enumerate(scale.splitlines()) for word in words.strip().split("|")} for scale in _SCALES
]
"""Word -> its step, of scales that go from low to high."""

UNITS = (
    r"stars?|sterne?|étoiles?|estrellas?|stelle|つ?星|점|点|分|points?|punkte|score|rating|grade|level|/|of|out|von|sur|de|5|10"
)
"""Pattern of words beside the number of a step: `4 stars`, `3 of 5`."""
