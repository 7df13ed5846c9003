#include "session/model.h"

#include "api/error.h"
#include "api/log.h"
#include "backend/threads.h"

#include <algorithm>
#include <chrono>

namespace moshi {

namespace {

// FNV-1a over what tells one model from another: metadata, shapes, types, and a sample of every tensor's bytes
// (reading all of a 5 GB file would cost more than loading it).
class Fingerprint {
public:
    void add(const void * data, size_t n) {
        const auto * p = static_cast<const uint8_t *>(data);
        for (size_t i = 0; i < n; ++i) {
            hash_ = (hash_ ^ p[i]) * 0x100000001b3u;
        }
    }
    void add(const std::string & s) { add(s.data(), s.size() + 1); }
    void add(const GgufFile & file) {
        for (const auto & [key, value] : file.metadata().values()) {
            add(key);
            add(Metadata::text(value));
        }
        for (const TensorInfo & t : file.tensors()) {
            add(t.name);
            add(&t.type, sizeof(t.type));
            add(t.ne.data(), sizeof(t.ne));
            constexpr uint64_t kSamples = 8, kBytes = 64;
            for (uint64_t i = 0; i < kSamples; ++i) {
                const uint64_t at = t.n_bytes > kBytes ? (t.n_bytes - kBytes) / (kSamples - 1) * i : 0;
                add(t.data + at, std::min(kBytes, t.n_bytes));
            }
        }
    }
    uint64_t value() const { return hash_; }

private:
    uint64_t hash_ = 0xcbf29ce484222325u;
};

std::shared_ptr<GgufFile> open(const char * path, const char * metadata) {
    if (!path) {
        return nullptr;
    }
    auto file = std::make_shared<GgufFile>(path);
    if (metadata) {
        file->metadata().add_lines(metadata, file->path());
    }
    return file;
}

uint64_t size_of(const std::shared_ptr<GgufFile> & file) { return file ? file->mapping()->size() : 0; }

void check_fit(const LmModel & lm, const MimiModel & mimi, const std::string & mimi_path) {
    const LmConfig & c = lm.config;
    const int needed = std::max(c.n_user(), c.n_agent());
    if (c.n_q > 0 && (mimi.config.bins != c.card || mimi.config.n_codebooks < needed)) {
        fail(MOSHI_ERROR_FORMAT, "%s: a codec of %d codebooks of %d codes does not fit a language model of %d codebooks of %d codes",
             mimi_path.c_str(), mimi.config.n_codebooks, mimi.config.bins, needed, c.card);
    }
}

} // namespace

int Model::n_codebooks() const {
    if (!mimi) {
        return 0;
    }
    const int used = lm ? std::max(lm->config.n_user(), lm->config.n_agent()) : 0;
    return used > 0 ? used : mimi->config.n_codebooks;
}

std::shared_ptr<Model> load_model(const moshi_model_params & params) {
    if (!params.lm_path && !params.mimi_path) {
        fail(MOSHI_ERROR_ARGUMENT, "neither a language model nor a codec was given");
    }
    const int n_threads = checked_threads(params.n_threads);
    const auto start = std::chrono::steady_clock::now();
    const auto lm_file = open(params.lm_path, params.lm_metadata);
    const auto mimi_file = open(params.mimi_path, params.mimi_metadata);
    const uint64_t lm_bytes = size_of(lm_file), total = lm_bytes + size_of(mimi_file);
    const DeviceChoice choice = choose_device(params.device ? params.device : "auto", total);

    auto model = std::make_shared<Model>();
    model->device_reason = choice.reason;
    model->compute = std::make_unique<Compute>(choice.device, n_threads);
    const auto part = [&](double from, double to) -> Progress {
        if (!params.progress) {
            return nullptr;
        }
        return [&params, from, to](float f) { return params.progress(static_cast<float>(from + (to - from) * f), params.progress_user); };
    };
    Fingerprint fingerprint;
    const double split = total ? static_cast<double>(lm_bytes) / static_cast<double>(total) : 0;
    if (lm_file) {
        fingerprint.add(*lm_file);
        model->lm = load_lm(lm_file, *model->compute, params.repack, params.all_depformer_steps, part(0, split));
    }
    if (mimi_file) {
        fingerprint.add(*mimi_file);
        model->mimi = load_mimi(mimi_file, *model->compute, params.repack, part(split, 1));
    }
    if (model->lm && model->mimi) {
        check_fit(*model->lm, *model->mimi, mimi_file->path());
    }
    model->fingerprint = fingerprint.value();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    log(MOSHI_LOG_INFO, "loaded %.2f GB on %s in %.2f s%s%s", total / 1e9, choice.device.name.c_str(), seconds.count(),
        choice.reason.empty() ? "" : "; chose ", choice.reason.c_str());
    return model;
}

} // namespace moshi
