// A loaded model: weights of the language model and the codec, and the device that computes with them.
#pragma once

#include "lm/model.h"
#include "mimi/codec.h"

namespace moshi {

struct Model {
    std::unique_ptr<Compute> compute;
    std::unique_ptr<LmModel> lm;     // may be absent
    std::unique_ptr<MimiModel> mimi; // may be absent
    std::string device_reason;
    uint64_t fingerprint = 0;

    int n_codebooks() const; // that a session's codec encodes; all without a language model
};

std::shared_ptr<Model> load_model(const moshi_model_params & params);

} // namespace moshi
