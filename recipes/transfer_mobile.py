"""Fine-tune a pretrained mobile network on your photos, compare it with training from scratch, and export it to LiteRT.

    python recipes/transfer_mobile.py                    # offline: digits 0-4 to 5-9, 20 images of each, 5 seeds
    python recipes/transfer_mobile.py --data my_photos/  # a folder per class; downloads MobileNet v2's ImageNet weights

The offline demo takes 42 s on 2 CPU cores. Test accuracy over 5 seeds: mean, 95% interval of the mean, and range:

    from scratch  93.35% (92.15 to 94.55), 91.96 to 94.50, 10 epochs
    head only     94.10% (91.97 to 96.23), 91.82 to 95.98,  5 epochs
    fine-tuned    95.44% (93.97 to 96.92), 93.43 to 96.25,  5 more epochs in which all layers train

Fine-tuned vs. from scratch: +2.09 points (+1.52 to +2.66, paired over seeds), significant. Head only vs. from scratch
is not significant. From scratch the learning rate is 1e-3; at 4e-3 in as many steps there is no significant difference
(how_much_data.py --size 20).

Ants and bees (245 images, a tenth of them for validation, and 153 test images), MobileNet v1 of width 0.25 with its
ImageNet weights, five seeds; learning rates and augmentation were chosen on fifths of the training images:

    python recipes/transfer_mobile.py --data hymenoptera/ --network mobilenet_v1 --model-option width=0.25 --seeds 5 \\
        --weights mobilenet_2_5_224_tf_no_top.h5 --head-learning-rate 0.03 --learning-rate 3e-4 --compare-scratch

    from scratch  57.52% (95% interval 53.46 to 61.57)  104.9 s of training, beside other work
    head only     86.54% (85.31 to 87.77)                 2.6 s, features computed once
    fine-tuned    88.63% (87.90 to 89.35)                 7.0 s, including the head; the last stage trains

Fine-tuned vs. head only: +2.09 points (+0.53 to +3.65, paired over seeds), significant; one image is 0.65 points. From
scratch the same recipe trains everything for as many epochs (30).
"""

from kcnn.cli import script
from kcnn.cli.transfer import transfer

if __name__ == "__main__":
    script(transfer)
