"""Statistics: arrays in, small frozen results out, a module a topic.

arrays: checks of what comes in. estimate: a number with its interval, and how that is computed (`Resampling`).
bootstrap: means and ratios of clustered scores. paired: differences over shared questions, before against after.
proportions: exact intervals, differences of shares, samples by stratum. em_rate: the share of EM answers.
correlation: Pearson, Spearman, partial, over runs and questions. agreement: AUC, kappa, Kendall's W. reliability: how
repeatable question means are, and the noise ceiling. permutation: row orders, sign flips, p-values. multiplicity:
Benjamini-Hochberg and max-T. cross_validation: grouped folds, scores, corrected intervals. regression: ridge and Lasso.
subspaces: axes, overlap and its controls. shift: how activations and weights move. dynamics: max_diff, onset, barrier.
probability_sample: answers drawn by key, by question and score. two_phase: a cheap judge's scores set right by a dear
one's sample; two_phase_questions: what these say of single questions. simulated: judged answers with a known truth.
"""
