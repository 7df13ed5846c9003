// Names of tensors as existing files store them (GGUF_LAYOUTS.md 2.1).
#include "gguf/names.h"

#include "check.h"
#include "tiny_model.h"

#include <algorithm>

using namespace moshi;

namespace {

void short_names_are_stored_as_they_are() {
    CHECK_EQ(stored_name("lm.out_norm.alpha"), "lm.out_norm.alpha");
    const std::string longest(63, 'x');
    CHECK_EQ(stored_name(longest), longest);
}

void long_names_are_stored_as_existing_files_hash_them() {
    CHECK_EQ(stored_name("mimi.encoder_transformer.transformer.layers.0.self_attn.in_projs.0.weight"), "0bd20000");
    CHECK_EQ(stored_name("lm.condition_provider.conditioners.speaker_wavs.output_proj.weight"), "57bd0000");
    CHECK_EQ(stored_name(std::string(64, 'x')).size(), 8u);
}

void the_names_of_a_whole_codec_do_not_collide() {
    std::vector<std::string> seen;
    for (const char * part : {"encoder", "decoder"}) {
        for (int l = 0; l < 8; ++l) {
            for (const char * leaf :
                 {"self_attn.in_projs.0.weight", "self_attn.out_projs.0.weight", "layer_scale_1.scale", "layer_scale_2.scale"}) {
                const std::string name =
                    stored_name("mimi." + std::string(part) + "_transformer.transformer.layers." + std::to_string(l) + "." + leaf);
                CHECK(std::find(seen.begin(), seen.end(), name) == seen.end());
                seen.push_back(name);
            }
        }
    }
    CHECK_EQ(seen.size(), 64u);
}

void the_first_name_that_is_there_is_found_and_the_first_of_all_is_named() {
    tiny::Random random(1);
    gguf::File f;
    f.tensors = {tiny::tensor(random, "new", {2}), tiny::tensor(random, "old", {2})};
    const gguf::Bytes bytes = f.bytes();
    const GgufFile file(bytes.data(), bytes.size(), "model.gguf");
    CHECK_EQ(find_name(file, {"newest", "new", "old"}), "new");
    CHECK_FAILS(find_name(file, {"newest", "newer"}), MOSHI_ERROR_FORMAT, "model.gguf", "newest", "missing");
    const std::string long_name = std::string(70, 'x');
    CHECK_FAILS(find_name(file, {long_name}), MOSHI_ERROR_FORMAT, long_name, "stored as");
}

} // namespace

int main() {
    return check::run({
        {"short names are stored as they are", short_names_are_stored_as_they_are},
        {"long names are stored as existing files hash them", long_names_are_stored_as_existing_files_hash_them},
        {"the names of a whole codec do not collide", the_names_of_a_whole_codec_do_not_collide},
        {"the first name that is there is found, and the first of all is named",
         the_first_name_that_is_there_is_found_and_the_first_of_all_is_named},
    });
}
