"""LEAP, 8th place: BiLSTM over the 60 levels and one Transformer encoder layer (BiLSTM + Transformer).

The source's attention ran over the batch by mistake, and its published scores were made so; here it runs over the
levels (``--model.attention_axis batch`` replicates the source, and is refused in prediction).
"""

from experiments.domains.leap.domain import column_net
from experiments.engine.runner import main
from lit_modules.leap.settings import BiLSTMTransformer

EXPERIMENT = column_net("leap_bilstm_transformer", BiLSTMTransformer(), batch_size=5120, cv=0.7858, lb=0.7821)

if __name__ == "__main__":
    main(EXPERIMENT)
