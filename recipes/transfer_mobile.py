"""Fit a mobile network to your photos, see what that bought, and take a file along that runs on a phone.

    python recipes/transfer_mobile.py                    # offline: digits 0-4 to 5-9, 20 images of each, 5 seeds
    python recipes/transfer_mobile.py --data my_photos/  # a folder per class; fetches MobileNet v2's ImageNet weights

The offline demonstration takes 78 s on 2 CPU cores. Test accuracy over 5 seeds, 95 % interval of the mean, and range:

    from scratch  93.35 % (92.15 to 94.55), 91.96 to 94.50, 10 epochs
    head only     94.10 % (91.97 to 96.23), 91.82 to 95.98,  5 epochs
    fine-tuned    95.44 % (93.97 to 96.92), 93.43 to 96.25,  5 more in which all layers train

Fine-tuned against from scratch: +2.09 points (+1.52 to +2.66, paired over seeds). The head alone shows no difference.
From scratch it learns at a rate of 1e-3; at 4e-3 in as many steps no difference is shown (how_much_data.py --size 20).

Ants and bees (244 photos to train on, 153 to test), MobileNet v1 of width 0.25 with its published ImageNet weights;
learning rates, epochs and augmentation were chosen on fifths of the 244, the 153 were scored once a seed:

    python recipes/transfer_mobile.py --data hymenoptera/ --network mobilenet_v1 --set width=0.25 --seeds 5 \\
        --weights mobilenet_2_5_224_tf_no_top.h5 --head-rate 0.03 --learning-rate 3e-4

    from scratch  56.73 % (95 % interval 49.51 to 63.95)  67.9 s of training
    head only     86.41 % (84.95 to 87.86)                 1.7 s, features computed once
    fine-tuned    88.24 % (85.94 to 90.53)                 7.0 s, the head's included; the last stage trains

Fine-tuned against head only: +1.83 points, paired over seeds -0.19 to +3.85, so five seeds do not show it: one photo is
0.65 points. From scratch the same recipe trains everything for as many epochs (20).
"""

from kcnn.cli import script
from kcnn.cli.transfer import transfer

if __name__ == "__main__":
    script(transfer)
