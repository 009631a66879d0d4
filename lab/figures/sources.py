"""The papers that figures come from, for captions and BibTeX."""

from __future__ import annotations

from dataclasses import dataclass

from lab.figures.latex.letters import escaped


@dataclass(frozen=True)
class Source:
    """One paper.

    Args:
        key: BibTeX key.
        authors: as BibTeX wants them, joined by " and ".
        title, year: of the paper.
        venue: journal or proceedings; empty for a preprint.
        arxiv: arXiv identifier; empty if there is none.
        entry: BibTeX type; "misc" is a preprint.
    """

    key: str
    authors: str
    title: str
    year: int
    venue: str = ""
    arxiv: str = ""
    entry: str = "misc"

    @property
    def citation(self) -> str:
        """Short plain-text form: "Li et al. (2018), arXiv:1804.08838"."""
        people = [person.partition(",")[0].strip() for person in self.authors.split(" and ")]
        who = people[0] if len(people) == 1 else " and ".join(people) if len(people) == 2 else f"{people[0]} et al."
        where = f"arXiv:{self.arxiv}" if self.arxiv else self.venue
        return f"{who} ({self.year}), {where}"

    @property
    def url(self) -> str:
        """Where to read it; empty without an arXiv number."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else ""

    @property
    def bibtex(self) -> str:
        """The BibTeX entry."""
        fields = {"author": escaped(self.authors), "title": f"{{{escaped(self.title)}}}", "year": str(self.year)}
        if self.venue:
            fields["journal" if self.entry == "article" else "booktitle"] = escaped(self.venue)
        if self.arxiv:
            fields |= {"eprint": self.arxiv, "archiveprefix": "arXiv"}
        body = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
        return f"@{self.entry}{{{self.key},\n{body}}}\n"


LI_2018 = Source(
    "li2018measuring",
    "Li, Chunyuan and Farkhoor, Heerad and Liu, Rosanne and Yosinski, Jason",
    "Measuring the Intrinsic Dimension of Objective Landscapes",
    2018,
    venue="International Conference on Learning Representations",
    arxiv="1804.08838",
    entry="inproceedings",
)
AGHAJANYAN_2020 = Source(
    "aghajanyan2020intrinsic",
    "Aghajanyan, Armen and Zettlemoyer, Luke and Gupta, Sonal",
    "Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning",
    2020,
    arxiv="2012.13255",
)
HU_2021 = Source(
    "hu2021lora",
    "Hu, Edward J. and Shen, Yelong and Wallis, Phillip and Allen-Zhu, Zeyuan and Li, Yuanzhi and Wang, Shean "
    "and Wang, Lu and Chen, Weizhu",
    "LoRA: Low-Rank Adaptation of Large Language Models",
    2021,
    arxiv="2106.09685",
)
DING_2022 = Source(
    "ding2022delta",
    "Ding, Ning and Qin, Yujia and Yang, Guang and Wei, Fuchao and Yang, Zonghan and others",
    "Delta Tuning: A Comprehensive Study of Parameter Efficient Methods for Pre-trained Language Models",
    2022,
    arxiv="2203.06904",
)
LOTFI_2022 = Source(
    "lotfi2022pacbayes",
    "Lotfi, Sanae and Finzi, Marc and Kapoor, Sanyam and Potapczynski, Andres and Goldblum, Micah and "
    "Wilson, Andrew Gordon",
    "PAC-Bayes Compression Bounds So Tight That They Can Explain Generalization",
    2022,
    venue="Advances in Neural Information Processing Systems",
    arxiv="2211.13609",
    entry="inproceedings",
)
AOYAGI_2005 = Source(
    "aoyagi2005stochastic",
    "Aoyagi, Miki and Watanabe, Sumio",
    "Stochastic Complexities of Reduced Rank Regression in Bayesian Estimation",
    2005,
    venue="Neural Networks",
    entry="article",
)
LAU_2023 = Source(
    "lau2023quantifying",
    "Lau, Edmund and Furman, Zach and Wang, George and Murfet, Daniel and Wei, Susan",
    "The Local Learning Coefficient: A Singularity-Aware Complexity Measure",
    2023,
    arxiv="2308.12108",
)
LALL_2002 = Source(
    "lall2002subspace",
    "Lall, Sanjay and Marsden, Jerrold E. and Glavaški, Sonja",
    "A Subspace Approach to Balanced Truncation for Model Reduction of Nonlinear Control Systems",
    2002,
    venue="International Journal of Robust and Nonlinear Control",
    entry="article",
)
TSUZUKU_2018 = Source(
    "tsuzuku2018lipschitz",
    "Tsuzuku, Yusuke and Sato, Issei and Sugiyama, Masashi",
    "Lipschitz-Margin Training: Scalable Certification of Perturbation Invariance for Deep Neural Networks",
    2018,
    venue="Advances in Neural Information Processing Systems",
    arxiv="1802.04034",
    entry="inproceedings",
)
MOORE_1981 = Source(
    "moore1981principal",
    "Moore, Bruce C.",
    "Principal Component Analysis in Linear Systems: Controllability, Observability, and Model Reduction",
    1981,
    venue="IEEE Transactions on Automatic Control",
    entry="article",
)
GAO_2021 = Source(
    "gao2021lmbff",
    "Gao, Tianyu and Fisch, Adam and Chen, Danqi",
    "Making Pre-trained Language Models Better Few-shot Learners",
    2021,
    venue="Annual Meeting of the Association for Computational Linguistics",
    arxiv="2012.15723",
    entry="inproceedings",
)
DING_2023 = Source(
    "ding2023parameter",
    "Ding, Ning and Qin, Yujia and Yang, Guang and Wei, Fuchao and Yang, Zonghan and others",
    "Parameter-efficient fine-tuning of large-scale pre-trained language models",
    2023,
    venue="Nature Machine Intelligence",
    entry="article",
)
BENAYCH_GEORGES_2012 = Source(
    "benaych2012singular",
    "Benaych-Georges, Florent and Nadakuditi, Raj Rao",
    "The singular values and vectors of low rank perturbations of large rectangular random matrices",
    2012,
    venue="Journal of Multivariate Analysis",
    arxiv="1103.2221",
    entry="article",
)
# the optimal-control view
LI_2017 = Source(
    "li2017maximum",
    "Li, Qianxiao and Chen, Long and Tai, Cheng and E, Weinan",
    "Maximum Principle Based Algorithms for Deep Learning",
    2017,
    venue="Journal of Machine Learning Research",
    arxiv="1710.09513",
    entry="article",
)
LI_HAO_2018 = Source(
    "li2018discrete",
    "Li, Qianxiao and Hao, Shuji",
    "An Optimal Control Approach to Deep Learning and Applications to Discrete-Weight Neural Networks",
    2018,
    venue="International Conference on Machine Learning",
    arxiv="1803.01299",
    entry="inproceedings",
)
# the methods compared
DEMSAR_2006 = Source(
    "demsar2006statistical",
    "Demšar, Janez",
    "Statistical Comparisons of Classifiers over Multiple Data Sets",
    2006,
    venue="Journal of Machine Learning Research",
    entry="article",
)
ARORA_2018 = Source(
    "arora2018compression",
    "Arora, Sanjeev and Ge, Rong and Neyshabur, Behnam and Zhang, Yi",
    "Stronger Generalization Bounds for Deep Nets via a Compression Approach",
    2018,
    venue="International Conference on Machine Learning",
    arxiv="1802.05296",
    entry="inproceedings",
)
SHUTTLEWORTH_2024 = Source(
    "shuttleworth2024illusion",
    "Shuttleworth, Reece and Andreas, Jacob and Torralba, Antonio and Sharma, Pratyusha",
    "LoRA vs Full Fine-tuning: An Illusion of Equivalence",
    2024,
    arxiv="2410.21228",
)
GAVISH_2014 = Source(
    "gavish2014threshold",
    "Gavish, Matan and Donoho, David L.",
    "The Optimal Hard Threshold for Singular Values is 4/√3",
    2014,
    venue="IEEE Transactions on Information Theory",
    arxiv="1305.5870",
    entry="article",
)
BHARGAVA_2023 = Source(
    "bhargava2023magic",
    "Bhargava, Aman and Witkowski, Cameron and Looi, Shi-Zhuo and Thomson, Matt",
    "What's the Magic Word? A Control Theory of LLM Prompting",
    2023,
    arxiv="2310.04444",
)
ZOU_2023 = Source(
    "zou2023universal",
    "Zou, Andy and Wang, Zifan and Carlini, Nicholas and Nasr, Milad and Kolter, J. Zico and Fredrikson, Matt",
    "Universal and Transferable Adversarial Attacks on Aligned Language Models",
    2023,
    arxiv="2307.15043",
)
YANG_2022 = Source(
    "yang2022robust",
    "Yang, Zonghan and Liu, Yang",
    "On Robust Prefix-Tuning for Text Classification",
    2022,
    venue="International Conference on Learning Representations",
    arxiv="2203.10378",
    entry="inproceedings",
)
HE_2022 = Source(
    "he2022unified",
    "He, Junxian and Zhou, Chunting and Ma, Xuezhe and Berg-Kirkpatrick, Taylor and Neubig, Graham",
    "Towards a Unified View of Parameter-Efficient Transfer Learning",
    2022,
    venue="International Conference on Learning Representations",
    arxiv="2110.04366",
    entry="inproceedings",
)
SCHRAUDOLPH_2002 = Source(
    "schraudolph2002fast",
    "Schraudolph, Nicol N.",
    "Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent",
    2002,
    venue="Neural Computation",
    entry="article",
)
GHORBANI_2019 = Source(
    "ghorbani2019investigation",
    "Ghorbani, Behrooz and Krishnan, Shankar and Xiao, Ying",
    "An Investigation into Neural Net Optimization via Hessian Eigenvalue Density",
    2019,
    venue="International Conference on Machine Learning",
    arxiv="1901.10159",
    entry="inproceedings",
)
DEREZINSKI_2020 = Source(
    "derezinski2020precise",
    "Derezi{\\'n}ski, Micha{\\l} and Liang, Feynman and Liao, Zhenyu and Mahoney, Michael W.",
    "Precise Expressions for Random Projections: Low-Rank Approximation and Randomized Newton",
    2020,
    venue="Advances in Neural Information Processing Systems",
    arxiv="2006.10653",
    entry="inproceedings",
)
LI_2018_VISUALIZING = Source(
    "li2018visualizing",
    "Li, Hao and Xu, Zheng and Taylor, Gavin and Studer, Christoph and Goldstein, Tom",
    "Visualizing the Loss Landscape of Neural Nets",
    2018,
    venue="Advances in Neural Information Processing Systems",
    arxiv="1712.09913",
    entry="inproceedings",
)
GARIPOV_2018 = Source(
    "garipov2018loss",
    "Garipov, Timur and Izmailov, Pavel and Podoprikhin, Dmitrii and Vetrov, Dmitry and Wilson, Andrew Gordon",
    "Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs",
    2018,
    venue="Advances in Neural Information Processing Systems",
    arxiv="1802.10026",
    entry="inproceedings",
)
GOODFELLOW_2015 = Source(
    "goodfellow2015qualitatively",
    "Goodfellow, Ian J. and Vinyals, Oriol and Saxe, Andrew M.",
    "Qualitatively Characterizing Neural Network Optimization Problems",
    2015,
    venue="International Conference on Learning Representations",
    arxiv="1412.6544",
    entry="inproceedings",
)
ANSUINI_2019 = Source(
    "ansuini2019intrinsic",
    "Ansuini, Alessio and Laio, Alessandro and Macke, Jakob H. and Zoccolan, Davide",
    "Intrinsic Dimension of Data Representations in Deep Neural Networks",
    2019,
    venue="Advances in Neural Information Processing Systems",
    arxiv="1905.12784",
    entry="inproceedings",
)
KORNBLITH_2019 = Source(
    "kornblith2019similarity",
    "Kornblith, Simon and Norouzi, Mohammad and Lee, Honglak and Hinton, Geoffrey",
    "Similarity of Neural Network Representations Revisited",
    2019,
    venue="International Conference on Machine Learning",
    arxiv="1905.00414",
    entry="inproceedings",
)

QIN_2021 = Source(
    key="qin2021universal",
    authors="Qin, Yujia and Wang, Xiaozhi and Su, Yusheng and Lin, Yankai and Ding, Ning and others",
    title="Exploring Universal Intrinsic Task Subspace via Prompt Tuning",
    year=2021,
    arxiv="2110.07867",
)

ILHARCO_2023 = Source(
    key="ilharco2023editing",
    authors="Ilharco, Gabriel and Ribeiro, Marco Tulio and Wortsman, Mitchell and Gururangan, Suchin and others",
    title="Editing Models with Task Arithmetic",
    year=2023,
    venue="International Conference on Learning Representations",
    arxiv="2212.04089",
    entry="inproceedings",
)

YADAV_2023 = Source(
    key="yadav2023ties",
    authors="Yadav, Prateek and Tam, Derek and Choshen, Leshem and Raffel, Colin and Bansal, Mohit",
    title="TIES-Merging: Resolving Interference When Merging Models",
    year=2023,
    venue="Advances in Neural Information Processing Systems",
    arxiv="2306.01708",
    entry="inproceedings",
)

YU_2024 = Source(
    key="yu2024dare",
    authors="Yu, Le and Yu, Bowen and Yu, Haiyang and Huang, Fei and Li, Yongbin",
    title="Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
    year=2024,
    venue="International Conference on Machine Learning",
    arxiv="2311.03099",
    entry="inproceedings",
)

JIN_2023 = Source(
    key="jin2023regmean",
    authors="Jin, Xisen and Ren, Xiang and Preotiuc-Pietro, Daniel and Cheng, Pengxiang",
    title="Dataless Knowledge Fusion by Merging Weights of Language Models",
    year=2023,
    venue="International Conference on Learning Representations",
    arxiv="2212.09849",
    entry="inproceedings",
)
