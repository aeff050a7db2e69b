"""GWI, 4th place, model 1 of 3: the net on true samples and on exactly mirrored ones; go on from gwi_inversion with --init_from."""

from datamodules.gwi.settings import GwiData
from experiments.domains.gwi.domain import inversion
from experiments.engine.runner import main
from lit_modules.gwi.settings import Inversion

EXPERIMENT = inversion("gwi_inversion_exact", Inversion(), GwiData(exact_mirror=True))

if __name__ == "__main__":
    main(EXPERIMENT)
