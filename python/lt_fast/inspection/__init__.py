"""What is in a set of photographs: facts about each file, duplicates, groups that must not be split, advice.

``lt-fast inspect`` prints all of it. A split takes the groups alone::

    from lt_fast.inspection import groups_of

    files = lt.datasets.image_folder("photos")
    groups = groups_of(files.paths, files.root)   # equal names: copies, bursts, versions of one photograph

Everything else that the command prints::

    photographs = listed("photos")
    findings = Findings(photographs, scan(photographs.files()))
    findings.summary()                            # plain values; findings.two_labels and others by position
"""

from lt_fast.inspection.findings import Findings
from lt_fast.inspection.groups import groups_of
from lt_fast.inspection.listing import listed
from lt_fast.inspection.scanning import scan

__all__ = ["Findings", "groups_of", "listed", "scan"]
