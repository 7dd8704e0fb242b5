"""Papers whose released files are read, and their numbers reproduced, a folder each; nothing below imports them."""
