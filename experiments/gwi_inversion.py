"""GWI, 4th place: 18 x 18 tokens, 28 times MBConv and full-window attention; begins with naive mirroring."""

from datamodules.gwi.settings import GwiData
from experiments.domains.gwi.domain import inversion
from experiments.engine.runner import main
from lit_modules.gwi.settings import Inversion

EXPERIMENT = inversion("gwi_inversion", Inversion(mirror="naive"), GwiData())

if __name__ == "__main__":
    main(EXPERIMENT)
