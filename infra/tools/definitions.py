"""Kinds of Kubernetes objects whose types no package publishes: the fields that the examples use, by the vendors' own
definitions (CRDs). A field that the vendor has and no example uses is refused too: look it up, and add it here.

"name!" is a field that must be there; [x] is a list of x; a set holds the values that are allowed.
"""

CEL = {"name!": str, "expression!": str}
GATEKEEPER_SOURCE = {
    "failurePolicy": {"Fail", "Ignore"},
    "matchCondition": [CEL],  # in Kubernetes's own policy: matchConditions
    "variables": [CEL],
    "validations!": [{"expression!": str, "message": str, "messageExpression": str}],
    "generateVAP": bool,
}

RELOADER_QUEUE = {
    "queueURL!": str,
    "auth!": {"authMethod!": {"irsa"}, "region!": str, "serviceAccountRef!": {"name!": str, "namespace!": str}},
    "numberOfMessages": int,
    "waitTimeSeconds": int,
    "visibilityTimeout": int,
}

# The key of a constraint's own kind is its group alone, since each template makes a kind.
DEFINITIONS = {
    # open-policy-agent/frameworks, constraint/config/crds; the source: open-policy-agent/gatekeeper, pkg/drivers/k8scel/schema
    ("templates.gatekeeper.sh/v1", "ConstraintTemplate"): {
        "crd!": {"spec!": {"names!": {"kind!": str}}},
        "targets!": [
            {
                "target!": {"admission.k8s.gatekeeper.sh"},
                "operations": [{"CREATE", "UPDATE", "DELETE", "CONNECT", "*"}],
                "code!": [{"engine!": {"K8sNativeValidation"}, "source!": GATEKEEPER_SOURCE}],
            }
        ],
    },
    # open-policy-agent/gatekeeper, config/crd/bases/match.gatekeeper.sh_matchcrd.yaml
    "constraints.gatekeeper.sh/v1beta1": {
        "enforcementAction": {"deny", "warn", "dryrun"},
        "match!": {"scope": {"*", "Cluster", "Namespaced"}, "kinds!": [{"apiGroups!": [str], "kinds!": [str]}]},
    },
    # mongodb/mongodb-atlas-kubernetes, releases/v2.15.1/deploy/crds: without projectRef, the other way to name the project
    ("atlas.mongodb.com/v1", "AtlasDatabaseUser"): {
        "externalProjectRef!": {"id!": str},
        "connectionSecret!": {"name!": str},
        "username!": str,
        "databaseName": {"admin"},
        "passwordSecretRef": {"name!": str},
        "roles!": [{"roleName!": str, "databaseName!": str, "collectionName": str}],
        "scopes": [{"type!": {"CLUSTER", "DATA_LAKE"}, "name!": str}],
    },
    # external-secrets/reloader, deploy/charts/reloader/crds, and pkg/auth/aws for authMethod
    ("reloader.external-secrets.io/v1alpha1", "Config"): {
        "notificationSources!": [{"type!": {"AwsSqs"}, "awsSqs!": RELOADER_QUEUE}],
        "destinationsToWatch!": [{"type!": {"ExternalSecret"}, "externalSecret!": {"names": [str]}}],
    },
}


def definition_of(api_version, kind):
    return DEFINITIONS.get((api_version, kind)) or DEFINITIONS.get(api_version)


def misfits(value, definition, where):
    """What is wrong with a value by its definition."""
    if isinstance(definition, dict):
        if not isinstance(value, dict):
            return [f"{where} is no map"]
        fields = {name.removesuffix("!"): inner for name, inner in definition.items()}
        wrong = [f"{where}.{name} is no field of it that is known here" for name in value.keys() - fields.keys()]
        wrong += [f"{where}.{name[:-1]} is missing" for name in definition if name.endswith("!") and name[:-1] not in value]
        for name in value.keys() & fields.keys():
            wrong += misfits(value[name], fields[name], f"{where}.{name}")
        return wrong
    if isinstance(definition, list):
        if not isinstance(value, list) or not value:
            return [f"{where} is no list, or empty"]
        return [line for i, item in enumerate(value) for line in misfits(item, definition[0], f"{where}[{i}]")]
    if isinstance(definition, set):
        return [] if value in definition else [f"{where} is none of {' '.join(sorted(definition))}"]
    return [] if type(value) is definition else [f"{where} is no {definition.__name__}"]
