"""GWI, 4th place, model 3 of 3: Style maps shown three times as often; go on from gwi_inversion_exact with --init_from."""

from datamodules.gwi.settings import GwiData
from experiments.domains.gwi.domain import inversion
from experiments.engine.runner import main
from lit_modules.gwi.settings import Inversion

EXPERIMENT = inversion("gwi_inversion_style", Inversion(), GwiData(exact_mirror=True, weights="Style_A=3,Style_B=3"))

if __name__ == "__main__":
    main(EXPERIMENT)
