// Hyper-parameters: from keys or text lines, each with a type and a range; and the two configurations read from them.
#include "gguf/metadata.h"

#include "check.h"
#include "lm/config.h"
#include "mimi/config.h"
#include "tiny_model.h"

#include <limits>
#include <locale>

using namespace moshi;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Metadata lines(const std::string & text) {
    Metadata md("model.gguf");
    md.add_lines(text, "config.json");
    return md;
}

Metadata metadata_of(const gguf::File & f) {
    const gguf::Bytes bytes = f.bytes();
    return GgufFile(bytes.data(), bytes.size(), "model.gguf").metadata();
}

// A good file with one key set to what it must not be.
template <typename Value> LmConfig lm_with(const std::string & key, Value value, tiny::Lm lm = {}) {
    gguf::File f = lm.file();
    f.set(gguf::key(key, value));
    return read_lm_config(metadata_of(f));
}
template <typename Value> MimiConfig mimi_with(const std::string & key, Value value) {
    gguf::File f = tiny::Mimi().file();
    f.set(gguf::key(key, value));
    return read_mimi_config(metadata_of(f));
}

void lines_have_types() {
    const Metadata md = lines("i=-7\nf=0.5\nb=true\ns=silu\nints=0,1,1\nfloats=0.5,1\ntext=a, b\nempty=\n\n");
    CHECK_EQ(md.require_int("i", -10, 10), -7);
    CHECK_EQ(md.get_float("f", 0, 0, 1), 0.5);
    CHECK(md.get_bool("b", false));
    CHECK_EQ(md.get_string("s", ""), "silu");
    CHECK_EQ(md.get_ints("ints", {}, 0, 1, 3).size(), 3u);
    CHECK_EQ(md.get_string("text", ""), "a, b");
    CHECK_EQ(md.get_string("empty", "x"), "");
    CHECK_EQ(Metadata::type_name(md.values().at("floats")), "float[]");
}

void numbers_are_written_as_they_are_read() {
    for (const char * text : {"0.5", "1e-08", "1e+09", "-2.25", "0.8"}) {
        const Metadata md = lines(std::string("k=") + text);
        CHECK_EQ(Metadata::type_name(md.values().at("k")), "float");
        CHECK_EQ(Metadata::text(md.values().at("k")), text);
    }
    for (const char * text : {"0.5x", "1e999", "nan", "inf", ".", "0,x"}) { // words
        CHECK_EQ(Metadata::type_name(lines(std::string("k=") + text).values().at("k")), "string");
    }
}

void a_locale_with_commas_changes_nothing() {
    struct Commas : std::numpunct<char> {
        char do_decimal_point() const override { return ','; }
        char do_thousands_sep() const override { return '.'; }
        std::string do_grouping() const override { return "\3"; }
    };
    const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Commas));
    const Metadata md = lines("f=1234.5\ni=1234567");
    const std::string f = Metadata::text(md.values().at("f")), i = Metadata::text(md.values().at("i"));
    std::locale::global(before);
    CHECK_EQ(f, "1234.5");
    CHECK_EQ(i, "1234567");
}

void the_files_own_keys_win() {
    Metadata md("model.gguf");
    md.set("moshi.dim", int64_t(4));
    md.add_lines("moshi.dim=8\nmoshi.card=9", "config.json");
    CHECK_EQ(md.require_int("moshi.dim", 0, 99), 4);
    CHECK_EQ(md.require_int("moshi.card", 0, 99), 9);
}

void lines_that_are_none_are_refused() {
    CHECK_FAILS(lines("good=1\nbad line"), MOSHI_ERROR_FORMAT, "config.json", "line 2", "bad line", "key=value");
    CHECK_FAILS(lines("=1"), MOSHI_ERROR_FORMAT, "line 1");
    CHECK_FAILS(lines(std::string((1 << 20) + 1, 'x')), MOSHI_ERROR_FORMAT, "bytes of metadata");
}

void values_of_another_type_are_refused_by_name() {
    const Metadata md = lines("k=text\nf=0.5\ni=3\nlist=1,2");
    CHECK_FAILS(md.require_int("k", 0, 9), MOSHI_ERROR_FORMAT, "model.gguf", "k", "text", "string", "integer");
    CHECK_FAILS(md.require_int("f", 0, 9), MOSHI_ERROR_FORMAT, "0.5", "integer");
    CHECK_FAILS(md.require_int("list", 0, 9), MOSHI_ERROR_FORMAT, "[1, 2]", "integer");
    CHECK_FAILS(md.require_int("none", 0, 9), MOSHI_ERROR_FORMAT, "none", "missing");
    CHECK_FAILS(md.get_float("k", 0, 0, 1), MOSHI_ERROR_FORMAT, "number");
    CHECK_FAILS(md.get_bool("i", false), MOSHI_ERROR_FORMAT, "true or false");
    CHECK_FAILS(md.get_string("i", ""), MOSHI_ERROR_FORMAT, "expected text");
    CHECK_FAILS(md.get_ints("k", {}, 0, 9, 9), MOSHI_ERROR_FORMAT, "list of integers");
    CHECK_FAILS(md.get_ints("list", {}, 0, 1, 9), MOSHI_ERROR_FORMAT, "contains 2", "0 to 1");
    CHECK_FAILS(md.get_ints("list", {}, 0, 9, 1), MOSHI_ERROR_FORMAT, "2 entries", "at most 1");
}

void numbers_keep_their_range() {
    const Metadata md = lines("i=10\nf=1e9\nwhole=8.0\nhuge=1e300");
    CHECK_FAILS(md.require_int("i", 0, 9), MOSHI_ERROR_FORMAT, "is 10", "0 to 9");
    CHECK_FAILS(md.get_float("f", 0, 0, 1), MOSHI_ERROR_FORMAT, "0 to 1");
    CHECK_EQ(md.require_int("whole", 0, 9), 8);
    CHECK_FAILS(md.require_int("huge", 0, INT64_MAX), MOSHI_ERROR_FORMAT, "integer");
}

void nan_and_infinity_are_no_numbers() {
    Metadata md("model.gguf");
    for (const double value : {kNaN, kInfinity, -kInfinity}) {
        md.set("k", value);
        CHECK_FAILS(md.get_float("k", 0, -1e300, 1e300), MOSHI_ERROR_FORMAT, "k");
        CHECK_FAILS(md.require_int("k", INT64_MIN, INT64_MAX), MOSHI_ERROR_FORMAT, "k");
    }
}

void a_good_configuration_is_read() {
    const LmConfig c = read_lm_config(metadata_of(tiny::Lm().file()));
    CHECK_EQ(c.dim, 16);
    CHECK_EQ(c.max_delay, 1);
    CHECK_EQ(c.depformer.n_weights, 2);
    CHECK_EQ(c.n_user(), 2);
    const MimiConfig m = read_mimi_config(metadata_of(tiny::Mimi().file()));
    CHECK_EQ(m.frame_size, 8);
    CHECK_EQ(m.stride, 2);
}

void a_file_without_parameters_says_so() {
    CHECK_FAILS(read_lm_config(Metadata("model.gguf")), MOSHI_ERROR_FORMAT, "model.gguf", "no model parameters", "config.json");
    CHECK_FAILS(read_mimi_config(Metadata("mimi.gguf")), MOSHI_ERROR_FORMAT, "mimi.gguf", "no codec parameters");
}

void sizes_of_the_model_are_bounded() {
    for (const char * key : {"moshi.dim", "moshi.num_heads", "moshi.num_layers", "moshi.context", "moshi.text_card", "moshi.card",
                             "moshi.n_q", "moshi.dep_q"}) {
        CHECK_FAILS(lm_with(key, -1), MOSHI_ERROR_FORMAT, key, "-1");
        CHECK_FAILS(lm_with(key, 1 << 30), MOSHI_ERROR_FORMAT, key);
        CHECK_FAILS(lm_with(key, std::string("16")), MOSHI_ERROR_FORMAT, key, "string");
        CHECK_FAILS(lm_with(key, kNaN), MOSHI_ERROR_FORMAT, key);
    }
    CHECK_FAILS(lm_with("moshi.max_period", 0), MOSHI_ERROR_FORMAT, "moshi.max_period");
    CHECK_FAILS(lm_with("moshi.max_period", kNaN), MOSHI_ERROR_FORMAT, "moshi.max_period");
}

void heads_divide_the_width_into_even_parts() {
    CHECK_FAILS(lm_with("moshi.num_heads", 3), MOSHI_ERROR_FORMAT, "16 channels", "3 heads");
    CHECK_FAILS(lm_with("moshi.num_heads", 16), MOSHI_ERROR_FORMAT, "16 heads"); // one channel each: nothing to rotate
    CHECK_FAILS(lm_with("moshi.depformer_num_heads", 5), MOSHI_ERROR_FORMAT, "depformer", "5 heads");
}

void streams_delays_and_schedules_fit_each_other() {
    CHECK_FAILS(lm_with("moshi.delays", std::vector<int32_t>{0, 0, 1}), MOSHI_ERROR_FORMAT, "moshi.delays has 3", "5");
    CHECK_FAILS(lm_with("moshi.delays", std::vector<int32_t>{0, 0, -1, 0, 0}), MOSHI_ERROR_FORMAT, "moshi.delays", "-1");
    CHECK_FAILS(lm_with("moshi.delays", std::vector<int32_t>{0, 0, 1000, 0, 0}), MOSHI_ERROR_FORMAT, "moshi.delays", "1000");
    CHECK_FAILS(lm_with("moshi.dep_q", 5), MOSHI_ERROR_FORMAT, "moshi.dep_q is 5", "0 to 4");
    const std::string schedule = "moshi.depformer_weights_per_step_schedule";
    CHECK_FAILS(lm_with(schedule, std::vector<int32_t>{0}), MOSHI_ERROR_FORMAT, schedule, "dep_q = 2");
    CHECK_FAILS(lm_with(schedule, std::vector<int32_t>{0, 2}), MOSHI_ERROR_FORMAT, schedule, "contains 2");
    CHECK_FAILS(lm_with("moshi.dep_q", 1, tiny::Lm::personaplex()), MOSHI_ERROR_FORMAT, "personaplex", "n_q 4", "dep_q 1");
}

void what_the_engine_does_not_compute_is_said() {
    CHECK_FAILS(lm_with("moshi.gating", std::string("gelu")), MOSHI_ERROR_UNSUPPORTED, "moshi.gating", "gelu", "silu");
    CHECK_FAILS(lm_with("moshi.positional_embedding", std::string("sin")), MOSHI_ERROR_UNSUPPORTED, "sin", "rope");
    CHECK_FAILS(lm_with("moshi.norm", std::string("layer_norm")), MOSHI_ERROR_UNSUPPORTED, "layer_norm");
    CHECK_FAILS(lm_with("moshi.kv_repeat", 2), MOSHI_ERROR_UNSUPPORTED, "moshi.kv_repeat");
    CHECK_FAILS(lm_with("moshi.causal", false), MOSHI_ERROR_UNSUPPORTED, "moshi.causal");
    CHECK_FAILS(lm_with("moshi.depformer_multi_linear", false), MOSHI_ERROR_UNSUPPORTED, "depformer");
    CHECK_FAILS(mimi_with("mimi.seanet.activation", std::string("ReLU")), MOSHI_ERROR_UNSUPPORTED, "ReLU", "ELU");
    CHECK_FAILS(mimi_with("mimi.channels", 2), MOSHI_ERROR_UNSUPPORTED, "mimi.channels is 2");
}

void sizes_of_the_codec_are_bounded() {
    for (const char * key :
         {"mimi.sample_rate", "mimi.seanet.n_filters", "mimi.seanet.dimension", "mimi.quantizer.n_q", "mimi.quantizer.bins",
          "mimi.quantizer.dimension", "mimi.transformer.num_layers", "mimi.transformer.num_heads", "mimi.transformer.dim_feedforward",
          "mimi.transformer.context", "mimi.seanet.kernel_size", "mimi.seanet.compress"}) {
        CHECK_FAILS(mimi_with(key, -1), MOSHI_ERROR_FORMAT, key, "-1");
        CHECK_FAILS(mimi_with(key, 1 << 30), MOSHI_ERROR_FORMAT, key);
        CHECK_FAILS(mimi_with(key, std::string("8")), MOSHI_ERROR_FORMAT, key, "string");
    }
    CHECK_FAILS(mimi_with("mimi.transformer.num_heads", 3), MOSHI_ERROR_FORMAT, "3 heads");
    CHECK_FAILS(mimi_with("mimi.transformer.d_model", 16), MOSHI_ERROR_FORMAT, "d_model");
}

void frames_are_two_latents() {
    for (const double rate : {0.0, 1e-300, 1e-6, 12.5, 24.0, 1000.0, kNaN}) {
        CHECK_FAILS(mimi_with("mimi.frame_rate", rate), MOSHI_ERROR_FORMAT, "mimi.frame_rate");
    }
    CHECK_FAILS(mimi_with("mimi.seanet.ratios", std::vector<int32_t>{2, 0}), MOSHI_ERROR_FORMAT, "mimi.seanet.ratios");
    CHECK_FAILS(mimi_with("mimi.seanet.ratios", std::vector<int32_t>{}), MOSHI_ERROR_FORMAT, "mimi.seanet.ratios");
    CHECK_FAILS(mimi_with("mimi.seanet.ratios", std::vector<int32_t>(8, 64)), MOSHI_ERROR_FORMAT, "two latents");
}

} // namespace

int main() {
    return check::run({
        {"lines have types", lines_have_types},
        {"numbers are written as they are read", numbers_are_written_as_they_are_read},
        {"a locale with commas changes nothing", a_locale_with_commas_changes_nothing},
        {"the file's own keys win", the_files_own_keys_win},
        {"lines that are none are refused", lines_that_are_none_are_refused},
        {"values of another type are refused by name", values_of_another_type_are_refused_by_name},
        {"numbers keep their range", numbers_keep_their_range},
        {"NaN and infinity are no numbers", nan_and_infinity_are_no_numbers},
        {"a good configuration is read", a_good_configuration_is_read},
        {"a file without parameters says so", a_file_without_parameters_says_so},
        {"sizes of the model are bounded", sizes_of_the_model_are_bounded},
        {"heads divide the width into even parts", heads_divide_the_width_into_even_parts},
        {"streams, delays and schedules fit each other", streams_delays_and_schedules_fit_each_other},
        {"what the engine does not compute is said", what_the_engine_does_not_compute_is_said},
        {"sizes of the codec are bounded", sizes_of_the_codec_are_bounded},
        {"frames are two latents", frames_are_two_latents},
    });
}
