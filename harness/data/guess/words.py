"""The words by which `bench init` knows columns, splits and scales. Names are lower case, words joined by `_`."""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


TEXT = (
    _set(
        """
        text texts review reviews review_body reviewtext review_text comment comments content body sentence
        message tweet document utterance query 文本 评论 内容 本文 レビュー テキスト texto texte comentario
        commentaire kommentar bewertungstext ulasan 리뷰
        """
    ),
    _set(
        """
        text review comment content body sentence message tweet document description question utterance abstract
        post opinion feedback
        """
    ),
)
"""Whole names of columns with texts; words in such names."""

TITLES = _set("title headline subject summary heading titel titre titulo 标题 タイトル betreff")

LABEL = (
    _set("label labels class classes target gold gold_label y tags 标签 ラベル klasse"),
    _set(
        """
        sentiment polarity stars star rating ratings emotion emotions intent intention topic topics category
        categories star_rating customer_rating score tag 评分 星级 情感 类别 评价 感情 評価 bewertung sterne
        kategorie categoria catégorie note étoiles
        """
    ),
    _set(
        """
        label class sentiment polarity stars star rating emotion intent topic category target score grade stance
        toxicity priority severity urgency type
        """
    ),
)
"""Whole names of columns with labels, the surest first; words in such names."""

NO_LABEL = _set(
    """
    id ids uid uuid index idx user username author reviewer name date time timestamp year month day votes vote
    likes like count counts num number helpful useful price age url link source file lang language locale split
    fold annotator rater confidence length country city verified version
    """
)
"""Words in the names of columns that have few values and are no labels."""

RATED = _set(
    """
    stars star rating ratings rated score scores grade grades points likert note sterne bewertung étoiles estrellas stelle
    valoración calificación puntuación voto 评分 星级 評価 평점 별점 rate satisfaction polarity sentiment severity priority
    """
)
"""Words in the names of columns whose numbers are a scale."""

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

LANG = _set(
    """
    lang langs language locale lang_code language_code langue sprache idioma 语言 言語
    """
)
SPLIT = _set("split set subset partition fold dataset_split usage")
SPLIT_WORDS = _set("split subset partition")
"""Words in the names of such columns."""

OF_SPLITS = _set("train training test validation dev holdout")
"""Words in the names of columns that say of one split which rows are in it (`is_test`)."""

ID = _set("id ids uid uuid guid key index idx nr no")

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
