#pragma once

/// Everything, in the order of the data flow.
#include "motet/error.h"
#include "motet/files.h"
#include "motet/version.h"

#include "motet/text/tokenizer.h"

#include "motet/attention/kernel.h"
#include "motet/attention/reading.h"
#include "motet/attention/rows.h"
#include "motet/attention/scores.h"
#include "motet/attention/sets.h"

#include "motet/context/encoded_context.h"
#include "motet/context/layout.h"

#include "motet/probe/entropy.h"
#include "motet/probe/observation.h"
#include "motet/probe/probe.h"

#include "motet/model/block.h"
#include "motet/model/config.h"
#include "motet/model/decoder.h"
#include "motet/model/encode.h"
#include "motet/model/family.h"
#include "motet/model/rope.h"
#include "motet/model/safetensors.h"
#include "motet/model/weights.h"

#include "motet/eval/compare.h"
#include "motet/eval/metrics.h"
#include "motet/eval/run.h"

#include "motet/report/json.h"
#include "motet/report/table.h"
