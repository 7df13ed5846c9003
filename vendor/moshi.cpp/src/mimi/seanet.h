// SEANet encoder and decoder: a stack of convolutions around residual blocks (MODELS.md 1.1, 1.2).
#pragma once

#include "mimi/config.h"
#include "mimi/conv.h"

namespace moshi {

struct ResidualBlock { // x + narrow_to_wide(elu(wide_to_narrow(elu(x))))
    Conv narrow, widen;
};

struct SeanetEncoder {
    Conv first, last;
    std::vector<ResidualBlock> blocks;
    std::vector<Conv> downsamples; // one after each block
};

struct SeanetDecoder {
    Conv first, last;
    std::vector<ConvTranspose> upsamples;
    std::vector<ResidualBlock> blocks; // one after each upsample
};

SeanetEncoder load_seanet_encoder(WeightLoader & loader, const MimiConfig & config);
SeanetDecoder load_seanet_decoder(WeightLoader & loader, const MimiConfig & config);

// Past columns of every convolution in order of use; declared in `state`, zero after a reset.
struct SeanetHistory {
    std::vector<ggml_tensor *> columns;
    size_t next = 0; // cursor while a graph is being built
    ggml_tensor * take() { return columns[next++]; }
};
SeanetHistory encoder_history(ggml_context * state, const SeanetEncoder & w);
SeanetHistory decoder_history(ggml_context * state, const SeanetDecoder & w);

ggml_tensor * seanet_encode(Graph & graph, const SeanetEncoder & w, SeanetHistory history,
                            ggml_tensor * pcm);      // [1, samples] -> [dim, latents]
ggml_tensor * seanet_decode(Graph & graph, const SeanetDecoder & w, SeanetHistory history, ggml_tensor * latents);  // and back

} // namespace moshi
