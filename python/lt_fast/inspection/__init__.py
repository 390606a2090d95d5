"""What is in a set of photographs: facts about each file, duplicates, groups that must not be split, advice.

``lt-fast inspect`` prints all of it. A split takes the groups alone::

    from lt_fast.inspection import groups_of

    files = lt.datasets.image_folder("photos")
    groups = groups_of(files.paths, files.root)   # equal names: copies, bursts, versions of one photograph
"""

from lt_fast.inspection.groups import groups_of

__all__ = ["groups_of"]
