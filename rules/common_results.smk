# Helpers of the rules behind the verdicts: tables, figures, pages and plans. No rule stands here.
from em_tiers.download.manifests import content_identity

CATEGORIES = (
    "Answer",
    "Tiers",
    "Probes",
    "Judges",
    "Sensitivity",
    "Training",
    "Cost",
    "Method",
)


def get_parents():
    """Ids of all fine-tunes."""
    return [v.variant for v in STUDY.fine_tunes]


def get_outcomes():
    """Outcomes tables of all judges."""
    return expand("<results>/outcomes/{judge}.parquet", judge=get_judges())


def get_verdicts():
    """Verdict tables of all judges and variants."""
    return [
        f"<results>/verdicts/{judge}/{variant}.parquet"
        for judge in get_judges()
        for variant in get_variants(judge)
    ]


def get_labels():
    """Label of each variant, for figures."""
    return {v.variant: v.label for v in STUDY.variants.values()}


def get_roles():
    """Role of each variant, for figures."""
    return {v.variant: v.role for v in STUDY.variants.values()}


def get_prices():
    """Prices of each judge, by its name in the tables."""
    configured = (j for j in get_judges() if j in STUDY.judges)
    return {get_judge_name(j): STUDY.judges[j]["prices"] for j in configured}


def get_rate_settings():
    """How rates are counted and bounded."""
    statistics = STUDY.config["statistics"]
    return {
        "confidence": statistics["confidence"],
        "headline": STUDY.config["headline"]["definition"],
        "headline_levels": STUDY.config["headline"]["levels"],
        "resamples": statistics["resamples"],
        "seed": statistics["seed"],
        "strict_counts": STUDY.config["tiers"]["strict_counts"],
    }


def get_caption(name):
    """Caption file of a table or figure; tables without one of their own share one."""
    path = ROOT / "config" / "captions" / f"{name}.rst"
    return str(path if path.exists() else path.with_name("table.rst"))


def in_report(path, name, caption, category):
    """A path that the report shows."""
    labels = {"name": name.replace("_", " "), "kind": Path(path).suffix[1:]}
    return report(
        path,
        caption=get_caption(caption),
        category=get_category(category),
        labels=labels,
    )


def get_category(name):
    """A category with its number in the order of reading; the report sorts by name."""
    return f"{CATEGORIES.index(name) + 1} {name}"


def get_tables(*names):
    """Output files of tables, as {TABLE_FORMAT: path}; the report shows the page and the CSV."""
    outputs = {}
    for name in names:
        stem = f"<results>/tables/{name}"
        for kind in ("parquet", "csv", "md", "tex", "html"):
            key = f"{name}_{kind}" if len(names) > 1 else kind
            outputs[key] = f"{stem}.{kind}"
            if kind in ("csv", "html") and name in TABLES:
                category = TABLES[name]
                outputs[key] = in_report(outputs[key], name, f"{name}_table", category)
    return outputs


def get_figure(name):
    """Output files of a figure; the SVG stands in the report."""
    outputs = {
        kind: f"<results>/figures/{name}.{kind}"
        for kind in ("pdf", "svg", "png", "csv")
    }
    outputs["svg"] = in_report(outputs["svg"], name, name, FIGURES[name])
    return outputs


def get_bases():
    """Models of the catalogue that are sampled."""
    return list(
        dict.fromkeys(v.base for v in STUDY.variants.values() if not v.imported)
    )


def get_method_study():
    """All that the method page puts into words."""
    keys = (
        "experiment",
        "title",
        "imports",
        "questions",
        "sampling",
        "headline",
        "tiers",
        "statistics",
        "acceptance",
        "human_labels",
    )
    return {key: STUDY.config[key] for key in keys} | {
        "variants": get_variant_rows(),
        "models": {name: STUDY.models[name] for name in get_bases()},
        "datasets": {name: STUDY.datasets[name] for name in STUDY.datasets_used},
        "recipes": {v.recipe: STUDY.recipes[v.recipe] for v in STUDY.fine_tunes},
        "question_sets": {
            name: STUDY.question_sets[name] for name in STUDY.question_sets_used
        },
        "judges": {name: STUDY.judges[name] for name in STUDY.config["judges"]},
        "engines": {STUDY.config["engine"]: get_engine()},
        "rubrics": STUDY.rubrics,
        "tier_rules": get_tier_rules(),
    }


def get_carded_datasets():
    """Data sets that are prepared: trained on here, or shown to a judge of imported answers."""
    variants = STUDY.variants.values()
    shown = bool(STUDY.config["judges"])
    return list(
        dict.fromkeys(v.dataset for v in variants if v.dataset and (v.parent or shown))
    )


def get_browser_files():
    """The sample browser's page, style and script."""
    folder = ROOT / "scripts" / "browser"
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [os.path.relpath(f) if Path.cwd() == ROOT else str(f) for f in files]


def get_catalogues():
    """Entries of all catalogues as they took effect."""
    names = (
        "models",
        "datasets",
        "recipes",
        "question_sets",
        "rubrics",
        "judges",
        "engines",
    )
    return {name: getattr(STUDY, name) for name in (*names, "tier_rules")}


def get_planned_variants():
    """Files of each variant that a plan looks at, relative to the working folder."""
    samples = get_sampling()["samples"]
    return [
        {
            "variant": v.variant,
            "dataset": v.dataset,
            "parent": v.parent,
            "adapter": f"{RESULTS}/adapters/{v.parent}" if v.parent else None,
            "checkpoints": f"{RESULTS}/checkpoints/{v.parent}" if v.parent else None,
            "journal": None if v.imported else f"{RESULTS}/journals/sample/{v.base}",
            "verdicts": {
                judge: f"{RESULTS}/verdicts/{judge}/{v.variant}.parquet"
                for judge in STUDY.config["judges"]
            },
            "responses": f"{RESULTS}/responses/{v.variant}.parquet",
            "card": f"{RESULTS}/datasets/{v.dataset}/card.json" if v.dataset else None,
            "questions": {
                path.replace("<results>", RESULTS): samples[get_set_of_file(path)]
                for path in get_question_files(v)
            },
        }
        for v in STUDY.variants.values()
    ]


def get_set_of_file(path):
    """Question set that a question table holds."""
    folder, table = Path(path).parts[-2], Path(path).stem
    for name, probes in PROBE_TABLES.items():
        if table == probes:
            return f"{name}.{folder}"
    return table.partition(".")[0]


def get_planned_judges():
    """What tells which requests of a configured judge are already answered, and its prices."""
    return {
        judge: {
            "judge": get_judge_params(judge),
            "identity": get_full_identity(judge),
            "rubrics": get_rubrics(judge),
            "prices": STUDY.judges[judge]["prices"],
            "journal": get_judge_journal(judge),
        }
        for judge in STUDY.config["judges"]
    }


def get_full_identity(judge):
    """The identity as judge_vllm.py completes it."""
    entry, identity = STUDY.judges[judge], get_judge_identity(judge)
    if entry["backend"] != "vllm":
        return identity
    folder = Path("results/resources/models") / entry["model"]
    if (folder / "manifest.json").is_file():
        identity = content_identity(identity, folder)
    thinking = STUDY.models[entry["model"]]["thinking"]
    template = get_chat_template(entry["model"])
    return identity | {
        "thinking": thinking,
        "chat_template": (
            Path(template).read_text(encoding="utf-8") if template else None
        ),
    }


def get_captions():
    """Texts of the report; an edited one builds the report anew."""
    files = sorted((ROOT / "config" / "captions").glob("*.rst"))
    return [os.path.relpath(f) if Path.cwd() == ROOT else str(f) for f in files]


def get_final_output():
    """Everything that a run makes: its results and the report on them."""
    return [*get_results(), "<results>/report.zip"]


def get_results():
    """Every table, figure and page of the experiment."""
    absent = set() if get_parents() else NEEDS_TRAINING
    absent |= set() if len(get_judges()) > 1 else NEEDS_JUDGES
    absent |= set() if STUDY.config["human_labels"] else NEEDS_LABELS
    tables = expand(
        "<results>/tables/{name}.parquet", name=sorted(set(TABLES) - absent)
    )
    figures = expand("<results>/figures/{name}.pdf", name=sorted(set(FIGURES) - absent))
    pages = ["<results>/overview.html", "<results>/method.md"]
    return [*tables, *figures, *pages, "<results>/browser"]
