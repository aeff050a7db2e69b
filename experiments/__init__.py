"""What a person runs: one short file per trained system, and the runner behind them."""
