"""GWI, 4th place, model 2 of 3: the net sees every line mirrored; go on from gwi_inversion with --init_from."""

from datamodules.gwi.settings import GwiData
from experiments.domains.gwi.domain import inversion
from experiments.engine.runner import main
from lit_modules.gwi.settings import Inversion

EXPERIMENT = inversion("gwi_inversion_mirrored", Inversion(mirror="all"), GwiData(exact_mirror=True))

if __name__ == "__main__":
    main(EXPERIMENT)
