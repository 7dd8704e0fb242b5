"""Any language model on this machine as the judge, by the exact probability of every number from 0 to 100."""
