"""LDAM and deferred re-weighting of Cao et al. 2019, and the baselines of its tables: CE, focal, class-balanced."""

from lt_fast.recipes.recipe import Paper, Recipe, Spec, cited, register

PAPER = Paper(
    "Cao, Wei, Gaidon, Arechiga, Ma 2019, Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    arxiv="1906.07413",
)

CE = register(
    Recipe(
        "ce",
        PAPER,
        "Table 2, row ERM",
        title="Cross entropy (ERM)",
        loss=Spec(
            "cross_entropy",
            normalization=cited("batch", "torch: F.cross_entropy(reduction='mean'); without weights all three agree"),
        ),
    )
)

LDAM = register(
    Recipe(
        "ldam",
        PAPER,
        "Section 3.2",
        title="LDAM",
        model=Spec(head="cosine"),
        loss=Spec(
            "ldam",
            max_margin=cited(0.5, "kaidic/LDAM-DRW: losses.py LDAMLoss max_m=0.5"),
            scale=cited(30.0, "kaidic/LDAM-DRW: losses.py LDAMLoss s=30"),
            normalization=cited("batch", "kaidic/LDAM-DRW: F.cross_entropy; without weights all three agree"),
        ),
    )
)

LDAM_DRW = register(
    LDAM.derive(
        "ldam_drw",
        title="LDAM with deferred re-weighting",
        equations="Section 3.2, Algorithm 1",
        loss=Spec(
            normalization=cited(
                "weights", "kaidic/LDAM-DRW: losses.py, F.cross_entropy(weight=...) divides by the batch's weight sum"
            ),
        ),
        reweight=Spec("effective_number", beta=cited(0.9999, "kaidic/LDAM-DRW: cifar_train.py betas = [0, 0.9999]")),
        defer_until=cited(0.8, "kaidic/LDAM-DRW: cifar_train.py --train_rule DRW, epoch 160 of 200"),
    )
)

FOCAL = register(
    Recipe(
        "focal",
        Paper("Lin, Goyal, Girshick, He, Dollar 2017, Focal Loss for Dense Object Detection", arxiv="1708.02002"),
        "eq. 4, softmax form",
        title="Focal loss",
        loss=Spec(
            "focal",
            gamma=cited(
                1.0,
                "kaidic/LDAM-DRW: cifar_train.py FocalLoss(gamma=1), softmax form; the detection paper's best is 2, "
                "and zhangyongshun/BagofTricks-LT takes 2 with the sigmoid form",
            ),
            normalization=cited("batch", "kaidic/LDAM-DRW: losses.py, loss.mean()"),
        ),
    )
)

CB = register(
    Recipe(
        "cb",
        Paper(
            "Cui, Jia, Lin, Song, Belongie 2019, Class-Balanced Loss Based on Effective Number of Samples",
            arxiv="1901.05555",
        ),
        "Section 4, softmax form",
        title="Class-balanced loss (effective number of samples)",
        loss=Spec(
            "class_balanced",
            beta=cited(
                0.9999,
                "kaidic/LDAM-DRW: cifar_train.py --train_rule Reweight; zhangyongshun/BagofTricks-LT uses 0.999, "
                "and richardaecn/class-balanced-loss chooses among 0.9 to 0.9999 by data set",
            ),
            normalization=cited(
                "batch",
                "richardaecn/class-balanced-loss: weights of sum C, loss averaged over the batch; "
                "kaidic/LDAM-DRW divides by the batch's weight sum instead",
            ),
        ),
    )
)
