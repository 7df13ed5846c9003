// The Mimi codec: weights shared by all, and one stream's state (MODELS.md 1.6).
#pragma once

#include "mimi/quantizer.h"
#include "mimi/seanet.h"
#include "mimi/transformer.h"
#include "nn/blob.h"
#include "nn/ring_inputs.h"
#include "nn/taps.h"

#include <map>

namespace moshi {

struct MimiModel {
    MimiConfig config;
    SeanetEncoder encoder;
    SeanetDecoder decoder;
    MimiTransformer encoder_transformer, decoder_transformer;
    Conv downsample;
    DepthwiseUpsample upsample;
    Quantizer quantizer;
    Weights weights;
};

std::unique_ptr<MimiModel> load_mimi(std::shared_ptr<GgufFile> file, const Compute & compute, bool repack, const Progress & progress);

// One direction pair of a stream. Not thread-safe.
class MimiStream {
public:
    MimiStream(const MimiModel & model, Compute & compute, const moshi_mimi_params & params);

    int n_codebooks() const { return params_.n_codebooks; }
    int frame_size() const { return model_.config.frame_size; }
    void encode(const float * pcm, int n_frames, int32_t * codes);                    // codes [n_codebooks][n_frames]
    void decode(const int32_t * codes, int n_codebooks, int n_frames, float * pcm);
    void reset();
    const Taps & taps() const { return taps_; }

    void save(BlobWriter & out) const;
    void restore(BlobReader & in); // of a snapshot whose size has been checked
    size_t snapshot_bytes(int64_t encoded, int64_t decoded) const;
    int64_t encoded() const { return encoded_; } // latents since the last reset
    int64_t decoded() const { return decoded_; }

private:
    struct Pass { // a built graph, what it is told and what is read from it
        Pass(const KvRing & kv, int n_latents) : ring(inputs, kv, n_latents, kv.slots()) {} // all slots: it is small
        GraphInputs inputs{8};
        RingInputs ring;
        ggml_tensor * in = nullptr;         // sound, f32 [samples]; or codes, i32 [frames padded to kIdAlignment, codebooks]
        ggml_tensor * first_call = nullptr; // f32 [1]; the encoder's
        std::unique_ptr<Graph> graph;
        std::vector<ggml_tensor *> outputs;
        TapPoints taps;
    };
    Pass build_encoder(int n_frames);
    Pass build_decoder(int n_frames, int n_codebooks);
    void keep(Pass & pass, const char * name, ggml_tensor * t) const;
    void encode_chunk(const float * pcm, int n, int32_t * codes, int codes_stride);
    void decode_chunk(const int32_t * codes, int codes_stride, int n_codebooks, int n, float * pcm);

    const MimiModel & model_;
    Compute & compute_;
    moshi_mimi_params params_;
    int chunk_; // most frames per graph, a multiple of frames_per_call

    std::vector<ggml_tensor *> histories() const;

    ContextPtr state_ctx_;
    SeanetHistory encoder_history_, decoder_history_;
    ggml_tensor *downsample_history_, *upsample_history_;
    std::unique_ptr<KvRing> encoder_ring_, decoder_ring_;
    ContextPtr output_ctx_;
    ggml_tensor * codes_out_; // i32 [n * n_codebooks] of the last call: codebook after codebook
    StateBuffer state_;
    BufferPtr outputs_;

    int64_t encoded_ = 0, decoded_ = 0; // latents so far
    std::map<int, Pass> encoders_;
    std::map<std::pair<int, int>, Pass> decoders_;
    Taps taps_;
};

} // namespace moshi
