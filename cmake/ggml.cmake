# Where ggml comes from. Gives MOSHI_GGML_SOURCE_DIR (a tree that the engine builds with itself) or the target
# ggml::ggml (one that is installed), and the function pymoshi_install_ggml(dest).
set(PYMOSHI_GGML "source" CACHE STRING
  "source: build ggml here | package: find_package(ggml), of the system or of the libggml-python wheel")
set_property(CACHE PYMOSHI_GGML PROPERTY STRINGS source package)
set(PYMOSHI_PORTABLE OFF CACHE STRING
  "For machines other than this one: ggml's backends as libraries that are chosen among when the program runs.
   ON: the CPU's code for each generation of processors | BASE: once, with AVX2 on x86: quick to build, for trying it out")
set_property(CACHE PYMOSHI_PORTABLE PROPERTY STRINGS OFF ON BASE)
set(PYMOSHI_GGML_SOURCE_DIR "" CACHE PATH "An unpacked ggml tree, instead of asking the package index for one")

# The sdist of this distribution holds the complete ggml tree, all backends included.
set(_ggml_dist "libggml-python")
set(_ggml_version "0.20.2.post1")
set(_ggml_sha256 "e47ff53506342959ffb3ce15380b82828fea10ec5f208f9ef6915895f1a7a176")

if(NOT PYMOSHI_PORTABLE MATCHES "^(OFF|ON|BASE)$")
  message(FATAL_ERROR "PYMOSHI_PORTABLE is \"${PYMOSHI_PORTABLE}\"; it can be \"OFF\", \"ON\" or \"BASE\".")
elseif(PYMOSHI_PORTABLE AND NOT PYMOSHI_GGML STREQUAL "source")
  message(FATAL_ERROR "PYMOSHI_PORTABLE=${PYMOSHI_PORTABLE} builds ggml; it goes with PYMOSHI_GGML=source only.")
endif()

# ---- an installed ggml -------------------------------------------------------------------------------------------
if(PYMOSHI_GGML STREQUAL "package")
  # The libggml-python wheel keeps its CMake files in lib64/, where CMake does not look on Debian and Ubuntu.
  set_property(GLOBAL PROPERTY FIND_LIBRARY_USE_LIB64_PATHS TRUE)
  find_package(ggml CONFIG REQUIRED)
  message(STATUS "ggml: package ${ggml_VERSION} in ${ggml_DIR}")

  function(pymoshi_install_ggml dest)
    get_target_property(_include ggml::ggml INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT "${_include}" MATCHES "libggml/include")  # the system's: linked where it is
      set_property(TARGET moshi PROPERTY INSTALL_RPATH_USE_LINK_PATH ON)
      return()
    endif()
    # The wheel: its libraries go beside libmoshi, once each, under their SONAME (a wheel holds no symbolic links),
    # and the rpath that it exports is dropped (ninja mangles "$ORIGIN" in it).
    set_property(TARGET ggml::ggml PROPERTY INTERFACE_LINK_OPTIONS "")
    foreach(_lib ggml ggml-base ggml-cpu ggml-metal ggml-blas)
      if(TARGET ggml::${_lib})
        if(WIN32)
          install(FILES "$<TARGET_FILE:ggml::${_lib}>" DESTINATION ${dest} COMPONENT pymoshi)
        else()
          install(FILES "$<TARGET_FILE:ggml::${_lib}>" DESTINATION ${dest} COMPONENT pymoshi
                  RENAME "$<TARGET_SONAME_FILE_NAME:ggml::${_lib}>")
        endif()
      endif()
    endforeach()
  endfunction()
  return()
elseif(NOT PYMOSHI_GGML STREQUAL "source")
  message(FATAL_ERROR "PYMOSHI_GGML is \"${PYMOSHI_GGML}\"; it can be \"source\" or \"package\".")
endif()

# ---- ggml's source -----------------------------------------------------------------------------------------------
function(_download_ggml out)
  set(_dir "${PROJECT_BINARY_DIR}/ggml-source")
  set(_tree "${_dir}/${_ggml_dist}/ggml")
  set(${out} "${_tree}" PARENT_SCOPE)
  if(EXISTS "${_dir}/${_ggml_sha256}")  # written last: the tree is whole
    return()
  endif()
  message(STATUS "ggml: asking the package index for the source of ${_ggml_dist} ${_ggml_version}")
  file(REMOVE_RECURSE "${_dir}")
  file(MAKE_DIRECTORY "${_dir}")
  file(WRITE "${_dir}/requirements.txt" "${_ggml_dist}==${_ggml_version} --hash=sha256:${_ggml_sha256}\n")
  # --no-binary with the name: `:all:` would reach pip's own build environments and compile CMake from source there.
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -m pip download --quiet --no-deps --no-binary ${_ggml_dist}
            --require-hashes --requirement requirements.txt --dest .
    WORKING_DIRECTORY "${_dir}" RESULT_VARIABLE _failed)
  file(GLOB _sdist "${_dir}/*.tar.gz")
  if(_failed OR NOT _sdist)
    message(FATAL_ERROR
      "pip could not fetch the ggml source (${_ggml_dist}==${_ggml_version}, its messages are above).\n"
      "Without a network: unpack that sdist yourself and pass its folder ggml as PYMOSHI_GGML_SOURCE_DIR, "
      "or build with an installed ggml (PYMOSHI_GGML=package). README.md, \"Building\", has both commands.")
  endif()
  file(ARCHIVE_EXTRACT INPUT "${_sdist}" DESTINATION "${_dir}/unpacked")
  file(GLOB _top "${_dir}/unpacked/*")
  file(RENAME "${_top}" "${_dir}/${_ggml_dist}")
  file(REMOVE_RECURSE "${_dir}/unpacked")
  file(WRITE "${_dir}/${_ggml_sha256}" "")
endfunction()

if(PYMOSHI_GGML_SOURCE_DIR)
  set(MOSHI_GGML_SOURCE_DIR "${PYMOSHI_GGML_SOURCE_DIR}")
else()
  _download_ggml(MOSHI_GGML_SOURCE_DIR)
endif()

# ---- the CPU's code, and a GPU's, chosen at run time (vendor/moshi.cpp/src/backend/loading.h) ------------------------
# Variables, not cache entries: they are gone in the next build without the option.
if(PYMOSHI_PORTABLE)
  set(BUILD_SHARED_LIBS ON)
  set(GGML_BACKEND_DL ON)
  set(GGML_NATIVE OFF)
  set(GGML_CPU_ALL_VARIANTS ON)
  if(PYMOSHI_PORTABLE STREQUAL "BASE")
    set(GGML_CPU_ALL_VARIANTS OFF)
  endif()
endif()

# ggml is a part of libmoshi unless BUILD_SHARED_LIBS asks for separate libraries.
function(pymoshi_install_ggml dest)
  if(NOT BUILD_SHARED_LIBS)
    return()
  endif()
  foreach(_lib ggml ggml-base ${GGML_AVAILABLE_BACKENDS})
    if(TARGET ${_lib})
      set_target_properties(${_lib} PROPERTIES INSTALL_RPATH "$<IF:$<PLATFORM_ID:Darwin>,@loader_path,$ORIGIN>")
      install(TARGETS ${_lib} COMPONENT pymoshi LIBRARY DESTINATION ${dest} RUNTIME DESTINATION ${dest})
      add_dependencies(moshi ${_lib})
    endif()
  endforeach()
endfunction()
