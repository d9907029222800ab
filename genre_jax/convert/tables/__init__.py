"""The tables of the published checkpoints: which tensor is which parameter."""

from genre_jax.convert.tables import ast, musicnn, panns, seeds, vgg16, yamnet

TABLES = (
    panns.CNN14,
    panns.MOBILENET_V1,
    ast.AST,
    ast.AST_HUGGING_FACE,
    vgg16.VGG16_KERAS,
    vgg16.VGG16_TORCHVISION,
    yamnet.YAMNET_KERAS,
    yamnet.YAMNET_LITERT,
    yamnet.YAMNET_TORCH,
    musicnn.MUSICNN,
    seeds.SHALLOW_CNN,
    seeds.EFFICIENT_CNN,
    seeds.CNN_GRU,
    seeds.CNN_GRU_ATTENTION,
    seeds.CNN_LSTM,
)
