// The GGUF reader: every way in which a file can be wrong, told by name.
#include "gguf/gguf_file.h"

#include "check.h"
#include "gguf_writer.h"
#include "temp_file.h"

#include <filesystem>

using namespace moshi;

namespace {

gguf::Tensor floats(const std::string & name, std::vector<uint64_t> ne) {
    uint64_t n = 4;
    for (const uint64_t d : ne) {
        n *= d;
    }
    return {name, GGML_TYPE_F32, std::move(ne), gguf::Bytes(n, 0)};
}

gguf::File two_tensors() {
    gguf::File f;
    f.keys = {gguf::key("general.name", std::string("x")), gguf::key("moshi.dim", 4)};
    f.tensors = {floats("a", {4, 2}), floats("b", {3})};
    return f;
}

GgufFile parse(const gguf::Bytes & bytes) { return GgufFile(bytes.data(), bytes.size(), "model.gguf"); }
GgufFile parse(const gguf::File & file) {
    static gguf::Bytes bytes; // what parse() returns refers to it
    bytes = file.bytes();
    return parse(bytes);
}

void a_file_is_read_as_it_was_written() {
    gguf::File f = two_tensors();
    const float value = 2.5f;
    std::memcpy(f.tensors[1].data.data() + 4, &value, 4);
    const GgufFile file = parse(f);
    CHECK_EQ(file.tensors().size(), 2u);
    CHECK_EQ(file.require("a").shape_text(), "[4, 2]");
    CHECK_EQ(file.require("a").n_bytes, 32u);
    CHECK_EQ(file.metadata().require_int("moshi.dim", 1, 9), 4);
    float out[3];
    to_float(file.path(), file.require("b"), out);
    CHECK_EQ(out[1], 2.5f);
    CHECK(file.find("c") == nullptr);
    CHECK_FAILS(file.require("c"), MOSHI_ERROR_FORMAT, "model.gguf", "tensor c is missing");
}

void a_file_that_ends_too_early_is_refused_wherever_it_ends() {
    const gguf::Bytes whole = two_tensors().bytes();
    const size_t data_end = whole.size() - 20; // the last tensor has 12 bytes of its 32
    for (size_t n = 0; n < data_end; ++n) {
        const gguf::Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
        CHECK_FAILS(parse(part), MOSHI_ERROR_FORMAT, "model.gguf");
    }
    const gguf::Bytes without_padding(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(data_end));
    CHECK_EQ(parse(without_padding).tensors().size(), 2u);
}

void what_is_no_gguf_file_is_named() {
    CHECK_FAILS(parse(gguf::Bytes{'G', 'G', 'M', 'L', 3, 0, 0, 0}), MOSHI_ERROR_FORMAT, "not a GGUF file");
    gguf::Bytes safetensors = {16, 0, 0, 0, 0, 0, 0, 0, '{', '"', '_', '_'};
    CHECK_FAILS(parse(safetensors), MOSHI_ERROR_FORMAT, "safetensors", "pymoshi convert");
}

void versions_other_than_2_and_3_are_refused() {
    gguf::File f = two_tensors();
    for (const uint32_t version : {0u, 1u, 4u, 99u}) {
        f.version = version;
        CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "version " + std::to_string(version), "expected 2 or 3");
    }
    f.version = 3u << 24;
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "big-endian");
    f.version = 2;
    CHECK_EQ(parse(f).tensors().size(), 2u);
}

void counts_that_no_file_can_have_are_refused_at_once() {
    gguf::File f = two_tensors();
    f.n_tensors = INT64_MAX;
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "claims", "tensors");
    f = two_tensors();
    f.n_keys = 1 << 21;
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "claims", "keys");
    f = two_tensors();
    f.n_tensors = 3;
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "tensor");
}

void texts_and_arrays_longer_than_the_file_are_refused() {
    gguf::File f = two_tensors();
    f.keys[0] = gguf::key<uint64_t>("long.text", gguf::kString, uint64_t(1) << 40);
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "length");
    for (const uint32_t type : {uint32_t(gguf::kI64), uint32_t(gguf::kString), uint32_t(gguf::kU8)}) {
        gguf::Key k{"long.array", gguf::kArray, {}};
        gguf::put<uint32_t>(k.value, type);
        gguf::put<uint64_t>(k.value, UINT64_MAX / 2);
        f.keys[0] = k;
        CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "long.array", "more than the file can hold");
    }
}

void unknown_types_of_keys_are_refused() {
    gguf::File f = two_tensors();
    f.keys[1] = gguf::key<uint32_t>("odd", static_cast<gguf::Type>(13), 0);
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "odd", "unknown type 13");
    gguf::Key nested{"nested", gguf::kArray, {}};
    gguf::put<uint32_t>(nested.value, gguf::kArray);
    gguf::put<uint64_t>(nested.value, 1);
    f.keys[1] = nested;
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "nested", "unknown type 9");
}

void keys_and_tensors_stand_once() {
    gguf::File f = two_tensors();
    f.keys.push_back(f.keys[0]);
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "general.name", "twice");
    f = two_tensors();
    f.tensors[1].name = "a";
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "tensor a", "twice");
    f = two_tensors();
    f.keys[0].name = "";
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "empty");
}

void names_of_tensors_fit_ggml() {
    gguf::File f = two_tensors();
    f.tensors[0].name = std::string(GGML_MAX_NAME, 'n');
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "name", "64");
    f.tensors[0].name = "";
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "empty");
    f.tensors[0].name = std::string("a\0b", 3);
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "binary");
    f.tensors[0].name = std::string(GGML_MAX_NAME - 1, 'n');
    CHECK_EQ(parse(f).tensors().size(), 2u);
}

void impossible_shapes_are_refused() {
    gguf::File f = two_tensors();
    for (const uint64_t n : {uint64_t(0), uint64_t(1) << 41, UINT64_MAX}) {
        f.tensors[0].ne = {n, 2};
        CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "tensor a", "impossible dimension");
    }
    f.tensors[0].ne = {uint64_t(1) << 32, uint64_t(1) << 32}; // whose product has no room in 64 bits
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "tensor a", "impossible dimension");
    f.tensors[0].ne = {};
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "tensor a", "0 dimensions");
    f.tensors[0].ne = {1, 1, 1, 1, 8};
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "tensor a", "5 dimensions");
}

void unknown_types_of_tensors_are_refused() {
    gguf::File f = two_tensors();
    for (const uint32_t type : {uint32_t(4), uint32_t(GGML_TYPE_COUNT), UINT32_MAX}) { // 4: removed from ggml
        f.tensors[0].type = type;
        CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "tensor a", "unknown type");
    }
}

void rows_are_whole_blocks() {
    gguf::File f = two_tensors();
    f.tensors[0].type = GGML_TYPE_Q8_0;
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "tensor a", "q8_0", "multiple of 32");
}

void tensors_lie_inside_the_file() {
    for (const int64_t offset : {int64_t(1) << 20, INT64_MAX & ~int64_t(31)}) {
        gguf::File f = two_tensors();
        f.tensors[1].offset = offset;
        CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "tensor b", "reaches beyond the file");
    }
    gguf::File f = two_tensors();
    f.tensors[1].ne = {1000};
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "tensor b", "4000 bytes");
}

void tensors_start_where_the_alignment_says() {
    gguf::File f = two_tensors();
    f.tensors[1].offset = 40;
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "tensor b", "offset 40", "multiple of 32");
    for (const int alignment : {0, 1, 4, 24, 1 << 24}) {
        f = two_tensors();
        f.set(gguf::key("general.alignment", alignment));
        CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "general.alignment");
    }
    f = two_tensors();
    f.alignment = 64;
    f.set(gguf::key("general.alignment", 64));
    CHECK_EQ(parse(f).require("b").file_offset % 64, 0u);
}

void tensors_do_not_overlap() {
    gguf::File f = two_tensors();
    f.tensors[1].offset = 0;
    CHECK_FAILS(parse(f), MOSHI_ERROR_FORMAT, "overlap", "a", "b");
}

void integers_of_every_width_are_read() {
    gguf::File f = two_tensors();
    f.keys = {gguf::key<uint8_t>("u8", gguf::kU8, 200),
              gguf::key<int8_t>("i8", gguf::kI8, -3),
              gguf::key<uint16_t>("u16", gguf::kU16, 60000),
              gguf::key<int16_t>("i16", gguf::kI16, -300),
              gguf::key<uint32_t>("u32", gguf::kU32, 4000000000u),
              gguf::key<int32_t>("i32", gguf::kI32, -70000),
              gguf::key<int64_t>("i64", gguf::kI64, INT64_MIN),
              gguf::key<uint64_t>("u64", gguf::kU64, UINT64_MAX)};
    const GgufFile file = parse(f);
    const auto read = [&](const char * key) { return file.metadata().require_int(key, INT64_MIN, INT64_MAX); };
    CHECK_EQ(read("u8"), 200);
    CHECK_EQ(read("i8"), -3);
    CHECK_EQ(read("u16"), 60000);
    CHECK_EQ(read("i16"), -300);
    CHECK_EQ(read("u32"), 4000000000);
    CHECK_EQ(read("i32"), -70000);
    CHECK_EQ(read("i64"), INT64_MIN);
    CHECK_EQ(read("u64"), INT64_MAX); // the largest there is
}

void types_without_values_cannot_be_converted() {
    gguf::File f = two_tensors();
    f.tensors[0].type = GGML_TYPE_I32;
    const GgufFile file = parse(f);
    float out[8];
    CHECK_FAILS(to_float(file.path(), file.require("a"), out), MOSHI_ERROR_UNSUPPORTED, "tensor a", "i32");
}

void what_is_no_file_is_named() {
    const std::string folder = std::filesystem::temp_directory_path().string();
    CHECK_FAILS(GgufFile{folder}, MOSHI_ERROR_FILE, folder, "folder");
    CHECK_FAILS(GgufFile{folder + "/no such file.gguf"}, MOSHI_ERROR_FILE, "no such file.gguf", "cannot be opened");
    const TempFile empty{gguf::Bytes{}};
    CHECK_FAILS(GgufFile{empty.path()}, MOSHI_ERROR_FORMAT, empty.path(), "empty");
}

void a_mapped_file_gives_what_its_bytes_give() {
    const gguf::Bytes bytes = two_tensors().bytes();
    const TempFile place(bytes);
    const GgufFile mapped(place.path()), in_memory(bytes.data(), bytes.size(), "x");
    CHECK_EQ(mapped.require("b").file_offset, in_memory.require("b").file_offset);
    CHECK(mapped.mapping() != nullptr);
    CHECK(in_memory.mapping() == nullptr);
}

} // namespace

int main() {
    return check::run({
        {"a file is read as it was written", a_file_is_read_as_it_was_written},
        {"a file that ends too early is refused, wherever it ends", a_file_that_ends_too_early_is_refused_wherever_it_ends},
        {"what is no GGUF file is named", what_is_no_gguf_file_is_named},
        {"versions other than 2 and 3 are refused", versions_other_than_2_and_3_are_refused},
        {"counts that no file can have are refused at once", counts_that_no_file_can_have_are_refused_at_once},
        {"texts and arrays longer than the file are refused", texts_and_arrays_longer_than_the_file_are_refused},
        {"unknown types of keys are refused", unknown_types_of_keys_are_refused},
        {"keys and tensors stand once", keys_and_tensors_stand_once},
        {"names of tensors fit ggml", names_of_tensors_fit_ggml},
        {"impossible shapes are refused", impossible_shapes_are_refused},
        {"unknown types of tensors are refused", unknown_types_of_tensors_are_refused},
        {"rows are whole blocks", rows_are_whole_blocks},
        {"tensors lie inside the file", tensors_lie_inside_the_file},
        {"tensors start where the alignment says", tensors_start_where_the_alignment_says},
        {"tensors do not overlap", tensors_do_not_overlap},
        {"integers of every width are read", integers_of_every_width_are_read},
        {"types without values cannot be converted", types_without_values_cannot_be_converted},
        {"what is no file is named", what_is_no_file_is_named},
        {"a mapped file gives what its bytes give", a_mapped_file_gives_what_its_bytes_give},
    });
}
