"""Layers that Keras lacks. Importing this module registers them for loading."""

import keras
from keras import ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    @tf.custom_gradient
    def total_over_replicas(x):
        """Sum `x` over all replicas; the gradient is summed likewise."""

        def merged(strategy, value):
            return strategy.extended.reduce_to(tf.distribute.ReduceOp.SUM, value, destinations=value)

        context = tf.distribute.get_replica_context()
        if isinstance(context.strategy, tf.distribute.MirroredStrategy):
            # all_reduce searches the complete graph of the other replicas for variables, at every call:
            # tracing GoogLeNet took seven minutes. A stopped gradient ends that search.
            total = tf.stop_gradient(context.merge_call(merged, args=(x,)))
        else:
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, x)
        return total, total_over_replicas

elif keras.backend.backend() == "jax":
    import jax

    from kcnn.keras_bridge.jax_batch_normalization import normalize_batch


registered = keras.saving.register_keras_serializable("kcnn")


@registered
class BatchNormalization(keras.layers.BatchNormalization):
    """Normalize batches as Keras does, by TensorFlow's fused kernel, or on JAX with fewer passes over the images.

    Arguments, variables and results are those of Keras. On torch, with a mask, or on anything but (batch, rows,
    columns, channels), Keras' own code runs; it also runs when synchronized over replicas, with another sum.
    """

    def call(self, inputs, training=None, mask=None):
        """Compute the output."""
        learning = bool(training and self.trainable)
        if not self._fusable(inputs, learning, mask):
            return super().call(inputs, training=training, mask=mask)
        return self._call_jax(inputs) if keras.backend.backend() == "jax" else self._call_fused(inputs, learning)

    def _call_fused(self, inputs, learning):
        """Compute the output by TensorFlow's kernel."""
        channels = inputs.shape[-1]
        scale = tf.cast(self.gamma, "float32") if self.scale else tf.ones(channels)
        offset = tf.cast(self.beta, "float32") if self.center else tf.zeros(channels)
        mean, variance = tf.cast(self.moving_mean, "float32"), tf.cast(self.moving_variance, "float32")
        unknown = tf.zeros(0)
        outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=scale,
            offset=offset,
            mean=unknown if learning else mean,
            variance=unknown if learning else variance,
            epsilon=self.epsilon,
            is_training=learning,
        )
        if learning:
            # The kernel divides by n - 1 where Keras' moving variance divides by n.
            count = tf.cast(tf.size(inputs) // channels, "float32")
            batch_variance *= (count - 1) / count
            self.moving_mean.assign(mean * self.momentum + batch_mean * (1 - self.momentum))
            self.moving_variance.assign(variance * self.momentum + batch_variance * (1 - self.momentum))
        return tf.cast(outputs, self.compute_dtype)

    def _call_jax(self, inputs):
        """Compute the output of a training step."""
        channels = inputs.shape[-1]
        scale = ops.cast(self.gamma, "float32") if self.scale else ops.ones(channels, "float32")
        offset = ops.cast(self.beta, "float32") if self.center else ops.zeros(channels, "float32")
        outputs, mean, variance = normalize_batch(inputs, scale, offset, self.epsilon)
        self.moving_mean.assign(self.moving_mean * self.momentum + mean * (1 - self.momentum))
        self.moving_variance.assign(self.moving_variance * self.momentum + variance * (1 - self.momentum))
        return ops.cast(outputs, self.compute_dtype)

    def _moments(self, inputs, mask):
        if keras.backend.backend() != "tensorflow" or not self.synchronized or mask is not None:
            return super()._moments(inputs, mask)
        if tf.distribute.in_cross_replica_context():
            return super()._moments(inputs, mask)
        # Each replica's moments are about its own mean: in E[x^2] - E[x]^2 the digits of a large mean cancel.
        mean, variance = tf.nn.moments(inputs, self._reduction_axes)
        channels = mean.shape[0]
        count = tf.cast(tf.size(inputs) // channels, inputs.dtype)
        context = tf.distribute.get_replica_context()
        position = tf.one_hot(context.replica_id_in_sync_group, context.num_replicas_in_sync, dtype=inputs.dtype)
        own = tf.concat([mean, variance, count[None]], 0)
        means, variances, counts = tf.split(  # (replicas, channels) twice, (replicas, 1)
            total_over_replicas(position[:, None] * own), [channels, channels, 1], axis=1
        )
        fractions = counts / tf.reduce_sum(counts)
        mean = tf.reduce_sum(fractions * means, 0)
        return mean, tf.reduce_sum(fractions * (variances + tf.square(means - mean)), 0)

    def _fusable(self, inputs, learning, mask):
        backend = keras.backend.backend()
        if backend == "tensorflow":
            is_ours = isinstance(inputs, tf.Tensor)
        else:
            is_ours = backend == "jax" and learning and isinstance(inputs, jax.Array) and inputs.size > 0
        return (
            is_ours
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and mask is None
            and not self.renorm
            and not (self.synchronized and learning)
            and keras.backend.standardize_dtype(inputs.dtype) in ("float32", "float16", "bfloat16")
            and inputs.shape[-1] is not None
        )


# In files it has the name of Keras' class, which computes the same: Keras opens them where kcnn is not imported.
BatchNormalization.__module__ = keras.layers.BatchNormalization.__module__


@registered
class Pad2D(keras.layers.Layer):
    """Pad rows and columns: (batch, rows, columns, channels) in and out.

    Args:
        padding: Pixels ((top, bottom), (left, right)).
        padding_mode: "zeros", "reflect", "edge", or "lowest" (minus infinity, before max pooling).
        channels: Number of channels of zeros (before, after).
        **kwargs: As of keras.layers.Layer.
    """

    def __init__(self, padding, padding_mode, channels=(0, 0), **kwargs):
        super().__init__(**kwargs)
        self.padding = tuple(map(tuple, padding))
        self.padding_mode = padding_mode
        self.channels = tuple(channels)

    def call(self, inputs):
        """Compute the output."""
        if any(self.channels):
            inputs = ops.pad(inputs, ((0, 0), (0, 0), (0, 0), self.channels))
        amounts = ((0, 0), *self.padding, (0, 0))
        if self.padding_mode == "zeros":
            return ops.pad(inputs, amounts)
        if self.padding_mode == "lowest":
            return ops.pad(inputs, amounts, constant_values=-float("inf"))
        if self.padding_mode == "reflect":
            return ops.pad(inputs, amounts, mode="reflect")
        x = inputs
        for axis, (before, after) in enumerate(self.padding, 1):
            first, last = ((slice(None),) * axis + (s,) for s in (slice(0, 1), slice(-1, None)))
            x = ops.concatenate([*[x[first]] * before, x, *[x[last]] * after], axis=axis)
        return x

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        sizes = [n and n + sum(side) for n, side in zip(input_shape[1:3], self.padding, strict=True)]
        return (input_shape[0], *sizes, input_shape[3] + sum(self.channels))

    def get_config(self):
        """Return the config."""
        own = {"padding": self.padding, "padding_mode": self.padding_mode, "channels": self.channels}
        return {**super().get_config(), **own}


@registered
class SubsampledConv2D(keras.layers.Conv2D):
    """Convolve as keras.layers.Conv2D does; a 1x1 kernel with strides on few channels takes every n-th pixel first.

    For such a kernel on fewer than 16 channels, the gradient that TensorFlow 2.21 computes by oneDNN writes past its
    buffer, which ends in a crash or in wrong values at some later time. The arguments are those of keras.layers.Conv2D.
    """

    def convolution_op(self, inputs, kernel):
        """Convolve, after subsampling where strides would do harm."""
        if not needs_subsampling(self.kernel_size, self.strides, self.groups, inputs.shape[-1]):
            return super().convolution_op(inputs, kernel)
        rows, columns = self.strides
        return ops.conv(inputs[:, ::rows, ::columns], kernel, 1, "valid", data_format="channels_last")


def needs_subsampling(kernel: tuple[int, int], stride: tuple[int, int], groups: int, channels: int) -> bool:
    """Return whether a convolution has to be a SubsampledConv2D.

    Args:
        kernel: Rows and columns of the kernel.
        stride: The strides.
        groups: Of channels.
        channels: Of the input.
    """
    return kernel == (1, 1) != stride and groups == 1 and channels < 16


@registered
class AveragePooling2D(keras.layers.Layer):
    """Average windows, with explicit padding that does not count: (batch, rows, columns, channels) in and out.

    Args:
        pool_size: (rows, columns).
        strides: (rows, columns).
        padding: Pixels ((top, bottom), (left, right)).
        **kwargs: As of keras.layers.Layer.
    """

    def __init__(self, pool_size, strides, padding, **kwargs):
        super().__init__(**kwargs)
        self.pool_size, self.strides = tuple(pool_size), tuple(strides)
        self.padding = tuple(map(tuple, padding))

    def call(self, inputs):
        """Compute the output."""
        amounts = ((0, 0), *self.padding, (0, 0))

        def mean(x):
            padded = ops.pad(x, amounts)
            return ops.average_pool(padded, self.pool_size, self.strides, "valid", data_format="channels_last")

        return mean(inputs) / mean(ops.ones_like(inputs[:1, :, :, :1]))

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        sizes = [
            n and (n + sum(side) - window) // stride + 1
            for n, side, window, stride in zip(
                input_shape[1:3], self.padding, self.pool_size, self.strides, strict=True
            )
        ]
        return (input_shape[0], *sizes, input_shape[3])

    def get_config(self):
        """Return the config."""
        own = {"pool_size": self.pool_size, "strides": self.strides, "padding": self.padding}
        return {**super().get_config(), **own}


@registered
class AdaptiveAveragePooling2D(keras.layers.Layer):
    """Average rows and columns of any number to a fixed number of positions.

    Window i of n pixels to m positions goes from floor(i n / m) to ceil((i + 1) n / m). Keras' own layer of this name
    fails on maps of one row or column, and on open sizes.

    Args:
        output_size: (rows, columns).
        **kwargs: As of keras.layers.Layer.
    """

    def __init__(self, output_size, **kwargs):
        super().__init__(**kwargs)
        self.output_size = tuple(output_size)

    def call(self, inputs):
        """Compute the output."""
        rows, columns = (self._means(n, m) for n, m in zip(ops.shape(inputs)[1:3], self.output_size, strict=True))
        return ops.einsum("ik,jl,bklc->bijc", rows, columns, inputs)

    def _means(self, size, positions):
        """(positions, size): each row averages the pixels of one window."""
        i, pixel = ops.arange(positions)[:, None], ops.arange(size)[None]
        start, end = i * size // positions, -(-(i + 1) * size // positions)
        inside = ops.cast(ops.logical_and(pixel >= start, pixel < end), self.compute_dtype)
        return inside / ops.cast(end - start, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        return (input_shape[0], *self.output_size, input_shape[3])

    def get_config(self):
        """Return the config."""
        return {**super().get_config(), "output_size": self.output_size}


@registered
class ChannelSlice(keras.layers.Layer):
    """Take the channels from `start` to `stop`, which is not one of them.

    Args:
        start: Index of the first channel.
        stop: Index after the last channel; None for all from `start` on.
        **kwargs: As of keras.layers.Layer.
    """

    def __init__(self, start=0, stop=None, **kwargs):
        super().__init__(**kwargs)
        self.start, self.stop = start, stop

    def call(self, inputs):
        """Compute the output."""
        # The gradient of a split is a concatenation; TensorFlow's of a slice takes six times as long on a CPU.
        cuts = [cut for cut in (self.start, self.stop) if cut and cut < inputs.shape[-1]]
        return ops.split(inputs, cuts, axis=-1)[1 if self.start else 0] if cuts else inputs

    def to_inference_layer(self, inputs):
        """Compute the output by one slice."""
        return inputs[..., self.start : self.stop]

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        return (*input_shape[:-1], (input_shape[-1] if self.stop is None else self.stop) - self.start)

    def get_config(self):
        """Return the config."""
        return {**super().get_config(), "start": self.start, "stop": self.stop}


@registered
class ChannelShuffle(keras.layers.Layer):
    """Interleave groups of channels: the first of each group, then the second.

    Args:
        groups: Number of groups.
        **kwargs: As of keras.layers.Layer.
    """

    def __init__(self, groups, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, inputs):
        """Compute the output."""
        _, *size, channels = ops.shape(inputs)
        x = ops.reshape(inputs, (-1, self.groups, channels // self.groups))
        return ops.reshape(ops.transpose(x, (0, 2, 1)), (-1, *size, channels))

    def to_inference_layer(self, inputs):
        """Compute the output; where the size is open, by a gather, which is slower but needs no size."""
        if None not in inputs.shape[1:]:
            return self.call(inputs)
        channels = range(inputs.shape[-1])
        size = len(channels) // self.groups
        return ops.take(inputs, [channel for first in range(size) for channel in channels[first::size]], axis=-1)

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        return input_shape

    def get_config(self):
        """Return the config."""
        return {**super().get_config(), "groups": self.groups}


@registered
class LocalResponseNormalization(keras.layers.Layer):
    """Compute x / (bias + alpha * sum of squares over `size` neighboring channels) ** beta.

    Args:
        size: Number of channels.
        bias: Added to the sum.
        alpha: Factor of the sum.
        beta: Exponent.
        **kwargs: As of keras.layers.Layer.
    """

    def __init__(self, size=5, bias=2.0, alpha=1e-4, beta=0.75, **kwargs):
        super().__init__(**kwargs)
        self.size, self.bias, self.alpha, self.beta = size, bias, alpha, beta

    def call(self, inputs):
        """Compute the output."""
        x = ops.cast(inputs, "float32")  # squares of activations overflow float16
        before, channels = (self.size - 1) // 2, x.shape[-1]
        squares = ops.pad(ops.square(x), ((0, 0),) * (len(x.shape) - 1) + ((before, self.size - 1 - before),))
        total = sum(squares[..., shift : shift + channels] for shift in range(self.size))
        return ops.cast(x * ops.power(self.bias + self.alpha * total, -self.beta), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Return the output shape for an input shape."""
        return input_shape

    def get_config(self):
        """Return the config."""
        own = {"size": self.size, "bias": self.bias, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **own}
