#include "mimi/codec.h"

#include "api/error.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace moshi {

namespace {

constexpr int kChunkFrames = 8;        // frames per graph when a whole signal is given: enough columns for the matrix kernels
constexpr int kMaxFramesPerCall = 64;

// Room for the nodes of either graph: a full-size one takes about 700, and ggml aborts where there are too few.
size_t max_nodes(const MimiConfig & c) { return 1024 + 128 * size_t(c.n_layers) + 16 * size_t(c.n_codebooks) + 64 * c.ratios.size(); }

std::unique_ptr<KvRing> new_ring(ggml_context * state, const MimiConfig & c, int max_push, moshi_window window, bool exact) {
    return std::make_unique<KvRing>(
        state, KvRingShape{c.n_layers, c.n_heads, c.dimension / c.n_heads, c.context, max_push, GGML_TYPE_F32, window, true, exact});
}

} // namespace

std::unique_ptr<MimiModel> load_mimi(std::shared_ptr<GgufFile> file, const Compute & compute, bool repack, const Progress & progress) {
    auto model = std::make_unique<MimiModel>();
    const MimiConfig c = model->config = read_mimi_config(file->metadata());
    WeightLoader loader(file, compute, repack);
    model->encoder = load_seanet_encoder(loader, c);
    loader.set_halves(Halves::Split);
    model->encoder_transformer = load_mimi_transformer(loader, "mimi.encoder_transformer", c);
    model->downsample = load_conv(loader, "mimi.downsample.conv.conv.conv", c.dimension, c.dimension, 2 * c.stride, c.stride, false);
    loader.set_halves(Halves::Rounded);
    model->decoder = load_seanet_decoder(loader, c);
    model->decoder_transformer = load_mimi_transformer(loader, "mimi.decoder_transformer", c);
    loader.set_halves(Halves::Widened);
    model->upsample = load_upsample(loader, "mimi.upsample.convtr.convtr.convtr", c.dimension, c.stride);
    model->quantizer = load_quantizer(loader, c);
    model->weights = loader.finish(progress);
    return model;
}

MimiStream::MimiStream(const MimiModel & model, Compute & compute, const moshi_mimi_params & params)
    : model_(model), compute_(compute), params_(params) {
    const MimiConfig & c = model.config;
    if (params.n_codebooks < 1 || params.n_codebooks > c.n_codebooks) {
        fail(MOSHI_ERROR_ARGUMENT, "n_codebooks is %d; this codec has 1 to %d", params.n_codebooks, c.n_codebooks);
    }
    if (params.frames_per_call < 1 || params.frames_per_call > kMaxFramesPerCall) {
        fail(MOSHI_ERROR_ARGUMENT, "frames_per_call is %d; expected 1 to %d", params.frames_per_call, kMaxFramesPerCall);
    }
    if (params.window != MOSHI_WINDOW_FULL && params.frames_per_call * c.stride >= c.context) { // the first latents would see nothing
        fail(MOSHI_ERROR_ARGUMENT, "frames_per_call is %d; with this window the codec's context of %d latents has room for at most %d",
             params.frames_per_call, c.context, (c.context - 1) / c.stride);
    }
    chunk_ = std::max(1, kChunkFrames / params.frames_per_call) * params.frames_per_call;
    const int T = chunk_ * c.stride;

    state_ctx_ = new_context(512 + 4 * static_cast<size_t>(c.n_layers));
    encoder_history_ = encoder_history(state_ctx_.get(), model.encoder);
    decoder_history_ = decoder_history(state_ctx_.get(), model.decoder);
    downsample_history_ = ggml_new_tensor_2d(state_ctx_.get(), GGML_TYPE_F32, c.dimension, model.downsample.history());
    upsample_history_ = ggml_new_tensor_2d(state_ctx_.get(), GGML_TYPE_F32, c.dimension, 1);
    encoder_ring_ = new_ring(state_ctx_.get(), c, T, params.window, compute.is_cpu());
    decoder_ring_ = new_ring(state_ctx_.get(), c, T, params.window, compute.is_cpu());
    state_ = allocate_state(state_ctx_.get(), compute, "the codec's state");

    output_ctx_ = new_context(2);
    codes_out_ = ggml_new_tensor_1d(output_ctx_.get(), GGML_TYPE_I32, int64_t(chunk_) * params.n_codebooks);
    outputs_ = allocate(output_ctx_.get(), compute.buffer_type(), "the codec's outputs");
    reset();
}

void MimiStream::reset() {
    ggml_backend_buffer_clear(state_.buffer.get(), 0);
    encoded_ = decoded_ = 0;
    taps_.clear();
}

void MimiStream::keep(Pass & pass, const char * name, ggml_tensor * t) const {
    if (params_.taps) {
        pass.taps.keep(*pass.graph, name, t);
    }
}

MimiStream::Pass MimiStream::build_encoder(int n) {
    const MimiConfig & c = model_.config;
    Pass pass(*encoder_ring_, n * c.stride);
    pass.in = pass.inputs.add(GGML_TYPE_F32, int64_t(n) * c.frame_size);
    pass.first_call = pass.inputs.add(GGML_TYPE_F32, 1);
    pass.inputs.allocate(compute_, "the codec's inputs");
    pass.graph = std::make_unique<Graph>(compute_, max_nodes(c));
    Graph & g = *pass.graph;
    ggml_context * ctx = g.ctx();
    ggml_tensor * pcm = ggml_reshape_2d(ctx, pass.in, 1, int64_t(n) * c.frame_size);
    ggml_tensor * x = seanet_encode(g, model_.encoder, encoder_history_, pcm);              // [dim, 2n]
    keep(pass, "enc_seanet", x);
    const MimiTransformer & transformer = model_.encoder_transformer;
    x = mimi_transformer(g, transformer, pass.ring.attention(transformer.n_heads, transformer.rope), x);
    keep(pass, "enc_transformer", x);
    // Replicate padding (MODELS.md 1.4): after a reset the history is zero, and on the first call the first column is added to it.
    ggml_tensor * first_column = ggml_view_2d(ctx, x, c.dimension, 1, x->nb[1], 0);
    ggml_tensor * padding = ggml_mul(ctx, ggml_cont(ctx, first_column), pass.first_call);
    g.expand(ggml_cpy(ctx, ggml_add(ctx, downsample_history_, padding), downsample_history_));
    x = conv(g, model_.downsample, downsample_history_, x);                                 // [dim, n]
    keep(pass, "enc_downsample", x);
    pass.outputs = quantize(ctx, model_.quantizer, x, params_.n_codebooks);
    for (size_t k = 0; k < pass.outputs.size(); ++k) {
        g.expand(ggml_cpy(ctx, pass.outputs[k], ggml_view_1d(ctx, codes_out_, n, k * n * sizeof(int32_t))));
    }
    g.finish("the Mimi encoder");
    return pass;
}

MimiStream::Pass MimiStream::build_decoder(int n, int n_codebooks) {
    const MimiConfig & c = model_.config;
    Pass pass(*decoder_ring_, n * c.stride);
    pass.in = pass.inputs.add(GGML_TYPE_I32, GGML_PAD(n, kIdAlignment), n_codebooks);
    pass.inputs.allocate(compute_, "the codec's inputs");
    pass.graph = std::make_unique<Graph>(compute_, max_nodes(c));
    Graph & g = *pass.graph;
    ggml_context * ctx = g.ctx();
    std::vector<ggml_tensor *> codes;
    for (int k = 0; k < n_codebooks; ++k) {
        codes.push_back(ggml_view_1d(ctx, pass.in, n, k * pass.in->nb[1]));
    }
    ggml_tensor * x = dequantize(ctx, model_.quantizer, codes);                             // [dim, n]
    keep(pass, "dec_latent", x);
    x = upsample(g, model_.upsample, upsample_history_, x);                                 // [dim, 2n]
    keep(pass, "dec_upsample", x);
    const MimiTransformer & transformer = model_.decoder_transformer;
    x = mimi_transformer(g, transformer, pass.ring.attention(transformer.n_heads, transformer.rope), x);
    keep(pass, "dec_transformer", x);
    x = seanet_decode(g, model_.decoder, decoder_history_, x);                              // [1, n * frame_size]
    ggml_set_output(x);
    g.expand(x);
    pass.outputs = {x};
    g.finish("the Mimi decoder");
    return pass;
}

void MimiStream::encode_chunk(const float * pcm, int n, int32_t * codes, int codes_stride) {
    auto it = encoders_.find(n);
    if (it == encoders_.end()) {
        it = encoders_.emplace(n, build_encoder(n)).first;
    }
    Pass & pass = it->second;
    std::copy(pcm, pcm + size_t(n) * frame_size(), pass.inputs.host<float>(pass.in));
    *pass.inputs.host<float>(pass.first_call) = encoded_ == 0 ? 1.0f : 0.0f;
    pass.ring.set(pass.inputs, encoded_, params_.frames_per_call * model_.config.stride);
    pass.inputs.upload();
    pass.graph->run();
    encoded_ += n * model_.config.stride;
    std::vector<int32_t> found(size_t(n) * params_.n_codebooks);
    ggml_backend_tensor_get(codes_out_, found.data(), 0, found.size() * sizeof(int32_t));
    for (int k = 0; k < params_.n_codebooks; ++k) {
        std::copy_n(found.begin() + size_t(k) * n, n, codes + size_t(k) * codes_stride);
    }
    pass.taps.read(taps_);
}

void MimiStream::decode_chunk(const int32_t * codes, int codes_stride, int n_codebooks, int n, float * pcm) {
    const auto key = std::make_pair(n, n_codebooks);
    auto it = decoders_.find(key);
    if (it == decoders_.end()) {
        it = decoders_.emplace(key, build_decoder(n, n_codebooks)).first;
    }
    Pass & pass = it->second;
    for (int k = 0; k < n_codebooks; ++k) {
        std::copy_n(codes + size_t(k) * codes_stride, n, pass.inputs.host<int32_t>(pass.in) + k * pass.in->ne[0]);
    }
    pass.ring.set(pass.inputs, decoded_, params_.frames_per_call * model_.config.stride);
    pass.inputs.upload();
    pass.graph->run();
    decoded_ += n * model_.config.stride;
    const size_t samples = size_t(n) * frame_size();
    ggml_backend_tensor_get(pass.outputs[0], pcm, 0, samples * sizeof(float));
    if (!std::all_of(pcm, pcm + samples, [](float x) { return std::isfinite(x); })) {
        fail(MOSHI_ERROR_FORMAT, "%s: the codec computes sound that is not a number; its weights are damaged",
             model_.weights.file->path().c_str());
    }
    pass.taps.read(taps_);
}

void MimiStream::encode(const float * pcm, int n_frames, int32_t * codes) {
    if (n_frames < 1 || n_frames % params_.frames_per_call != 0) {
        fail(MOSHI_ERROR_ARGUMENT, "%d frames to encode; expected a positive multiple of frames_per_call = %d", n_frames,
             params_.frames_per_call);
    }
    for (int64_t i = 0; i < int64_t(n_frames) * frame_size(); ++i) {
        if (!(pcm[i] > -1e6f && pcm[i] < 1e6f)) { // one NaN would stay in the convolutions' history
            fail(MOSHI_ERROR_ARGUMENT, "sample %lld is %g; expected numbers in [-1, 1]", (long long) i, static_cast<double>(pcm[i]));
        }
    }
    taps_.clear();
    for (int at = 0; at < n_frames; at += chunk_) {
        encode_chunk(pcm + size_t(at) * frame_size(), std::min(chunk_, n_frames - at), codes + at, n_frames);
    }
}

void MimiStream::decode(const int32_t * codes, int n_codebooks, int n_frames, float * pcm) {
    if (n_codebooks < 1 || n_codebooks > model_.config.n_codebooks) {
        fail(MOSHI_ERROR_ARGUMENT, "%d codebooks to decode; this codec has 1 to %d", n_codebooks, model_.config.n_codebooks);
    }
    if (n_frames < 1 || n_frames % params_.frames_per_call != 0) {
        fail(MOSHI_ERROR_ARGUMENT, "%d frames to decode; expected a positive multiple of frames_per_call = %d", n_frames,
             params_.frames_per_call);
    }
    for (int64_t i = 0; i < int64_t(n_codebooks) * n_frames; ++i) {
        if (codes[i] < 0 || codes[i] >= model_.config.bins) {
            fail(MOSHI_ERROR_ARGUMENT, "code %d of codebook %lld, frame %lld; expected 0 to %d", codes[i], (long long) (i / n_frames),
                 (long long) (i % n_frames), model_.config.bins - 1);
        }
    }
    taps_.clear();
    for (int at = 0; at < n_frames; at += chunk_) {
        decode_chunk(codes + at, n_frames, n_codebooks, std::min(chunk_, n_frames - at), pcm + size_t(at) * frame_size());
    }
}

std::vector<ggml_tensor *> MimiStream::histories() const {
    std::vector<ggml_tensor *> out = {downsample_history_, upsample_history_};
    for (const SeanetHistory * h : {&encoder_history_, &decoder_history_}) {
        std::copy_if(h->columns.begin(), h->columns.end(), std::back_inserter(out), [](ggml_tensor * t) { return t != nullptr; });
    }
    return out;
}

size_t MimiStream::snapshot_bytes(int64_t encoded, int64_t decoded) const {
    size_t n = sizeof(encoded_) + sizeof(decoded_) + encoder_ring_->filled_bytes(encoded) + decoder_ring_->filled_bytes(decoded);
    for (const ggml_tensor * t : histories()) {
        n += ggml_nbytes(t);
    }
    return n;
}

void MimiStream::save(BlobWriter & out) const {
    out.value(encoded_);
    out.value(decoded_);
    for (const ggml_tensor * t : histories()) {
        out.tensor(t, 0, ggml_nbytes(t));
    }
    encoder_ring_->save(out, encoded_);
    decoder_ring_->save(out, decoded_);
}

void MimiStream::restore(BlobReader & in) {
    encoded_ = in.value<int64_t>();
    decoded_ = in.value<int64_t>();
    for (ggml_tensor * t : histories()) {
        in.tensor(t, 0, ggml_nbytes(t));
    }
    encoder_ring_->restore(in, encoded_);
    decoder_ring_->restore(in, decoded_);
}

} // namespace moshi
