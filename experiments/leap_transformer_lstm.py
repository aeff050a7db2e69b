"""LEAP, 8th place: Transformer encoder layer on the 25 channels, then a BiLSTM (a script without a published score).

The source's attention ran over the batch by mistake, and its published scores were made so; here it runs over the
levels (``--model.attention_axis batch`` replicates the source, and is refused in prediction).
"""

from experiments.domains.leap.domain import column_net
from experiments.engine.runner import main
from lit_modules.leap.settings import TransformerLSTM

EXPERIMENT = column_net("leap_transformer_lstm", TransformerLSTM(), batch_size=4096)

if __name__ == "__main__":
    main(EXPERIMENT)
