"""Plans of a batch that is given by its labels alone: the images are the rows 0, 1, 2, ... of a data set."""

import numpy as np

from lt_fast.batch import BatchPlan


def plan_of(mixer, target, epoch=0, step=0):
    rows = np.arange(len(target))
    return mixer.plan(BatchPlan(epoch, step, rows, rows), target)
