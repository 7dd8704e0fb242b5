"""Stage 4, capture: what a model holds inside, site by site, of prompts alone or with an answer behind them."""
