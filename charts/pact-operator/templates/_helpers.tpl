{{- define "pact-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Prefix of all object names; short enough for every suffix this chart adds. */}}
{{- define "pact-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels by which the Service, the policy and the Deployment select Pods: dict "root" $ "component" NAME. Immutable. */}}
{{- define "pact-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pact-operator.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "pact-operator.labels" -}}
{{ include "pact-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: pact-operator
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* dict "root" $ "image" {repository, tag} "value" NAME-OF-THE-VALUE */}}
{{- define "pact-operator.image" -}}
{{- include "pact-operator.reference" (dict "repository" .image.repository "tag" (default .root.Chart.AppVersion .image.tag) "value" .value) -}}
{{- end -}}

{{- define "pact-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pact-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "pact-operator.hookSecret" -}}
{{- default (printf "%s-hook" (include "pact-operator.fullname" .)) .Values.hook.existingSecret -}}
{{- end -}}

{{- define "pact-operator.gateSecret" -}}
{{- default (printf "%s-gate" (include "pact-operator.fullname" .)) .Values.gate.existingSecret -}}
{{- end -}}

{{- define "pact-operator.admissionSecret" -}}
{{- printf "%s-admission" (include "pact-operator.fullname" .) -}}
{{- end -}}

{{- define "pact-operator.serviceUrl" -}}
{{- printf "http://%s.%s.svc:%v" (include "pact-operator.fullname" .) .Release.Namespace .Values.service.port -}}
{{- end -}}

{{- define "pact-operator.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .Values.runAsUser }}
runAsGroup: {{ .Values.runAsUser }}
fsGroup: {{ .Values.runAsUser }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "pact-operator.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What the operator may do in a namespace that it serves. Every verb is one that it uses. */}}
{{- define "pact-operator.rules" -}}
- apiGroups: [pact-operator.dev]
  resources: [pactbrokers]
  # patch: the finalizer that lets the operator remove its webhook from the broker
  verbs: [list, watch, patch]
- apiGroups: [pact-operator.dev]
  resources: [pactconsumers, pactproviders]
  verbs: [list, watch]
- apiGroups: [pact-operator.dev]
  resources: [pactverifications]
  # get, here and below: whose is an object that is there already?
  verbs: [get, list, watch, create, delete]
- apiGroups: [pact-operator.dev]
  resources: [pactbrokers/status, pactconsumers/status, pactproviders/status, pactverifications/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
{{- with .Values.rbac.brokerSecretNames }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames:
    {{- toYaml . | nindent 4 }}
  verbs: [get]
{{- end }}
{{- end -}}

{{/* An image reference, refused without a fixed tag: dict "repository" R "tag" T "value" NAME-OF-THE-VALUE. */}}
{{- define "pact-operator.reference" -}}
{{- if eq .tag "latest" -}}
{{- fail (printf "%s must not be latest: a tag that moves is no version. Name the tag of one build." .value) -}}
{{- end -}}
{{- printf "%s:%s" .repository .tag -}}
{{- end -}}
