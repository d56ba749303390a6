"""Fit a mobile network to your photos, see what that bought, and take a file along that runs on a phone.

    python recipes/transfer_mobile.py                    # offline: digits 0-4 to 5-9, 20 images of each, 5 seeds
    python recipes/transfer_mobile.py --data my_photos/  # a folder per class; fetches MobileNet v2's ImageNet weights

The offline demonstration, on 2 CPU cores:

DEMO

Ants and bees (244 photos to train on, 153 to test), MobileNet v1 of width 0.25 with its published ImageNet weights;
learning rates, epochs and augmentation were chosen on fifths of the 244, the 153 were scored once a seed:

    python recipes/transfer_mobile.py --data hymenoptera/ --network mobilenet_v1 --set width=0.25 --seeds 5 \\
        --weights mobilenet_2_5_224_tf_no_top.h5 --head-rate 0.03 --learning-rate 3e-4

PHOTOS
"""

import typer

from kcnn.cli.transfer import transfer

if __name__ == "__main__":
    typer.run(transfer)
