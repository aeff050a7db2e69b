"""LEAP, 8th place: BiLSTM over the 60 levels and self-attention (BiLSTM + Attention).

The source's attention ran over the batch by mistake, and its published scores were made so; here it runs over the
levels (``--model.attention_axis batch`` replicates the source, and is refused in prediction).
"""

from experiments.domains.leap.domain import column_net
from experiments.engine.runner import main
from lit_modules.leap.settings import BiLSTMAttention

EXPERIMENT = column_net("leap_bilstm_attention", BiLSTMAttention(), batch_size=5120, cv=0.7865, lb=0.7834)

if __name__ == "__main__":
    main(EXPERIMENT)
