"""What the scripts share and a reader of them would not edit, in the order to read it.

mnist        the loader: MNIST's files, its digits as text, grids, the grid of mismatches
data         other people's data as tensors, and checks that it is what it seems to be
folders      what is in a folder: IDX files of all layouts, pictures, CSV files
imagefiles   files of pictures, as images of one shape
fetch        MNIST from its mirrors, into an empty folder
batches      batches of images in random order, and a network's answers to all images
augment      training images, shifted and distorted at random
numbers      numbers of digits that touch, made at random, and read from a network's outputs
dropout      dropout that is fast on the CPU
scores       how good generated digits are, and the end of a generator's run
flags        the flags of all scripts
devices      the device, its precision and its memory
run          one run from its flags to its files: seed, data, epochs, checkpoints
record       a run's log, figures, pictures and weights
weights      whether figures, script and data are those of the run that wrote the weights
checkpoint   weights, and a run's state after an epoch
files        files that are whole or not there, one process a run, hashes
errors       one clear line for what the user can mend
classifiers  the networks that a user has trained, and what they say of images
reading      the answers to the digits on a page, which is set upright, also where they touch
pictures     the digits on a picture, each in MNIST's form, by the steps of the modules below
sheet        the sheet of paper: what is around it is painted over
ink          what is drawn on a picture, without shade
lines        ruled lines, grids and frames, taken out of the ink
pieces       the pieces of ink: which make up a digit, which are in a line
signs        signs between digits, which are none
"""
