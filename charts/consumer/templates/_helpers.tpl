{{- define "consumer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Prefix of all object names; short enough for every suffix this chart adds. */}}
{{- define "consumer.fullname" -}}
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

{{/* Labels that name an object of this release: dict "root" $ "component" NAME. */}}
{{- define "consumer.selectorLabels" -}}
app.kubernetes.io/name: {{ include "consumer.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "consumer.labels" -}}
{{ include "consumer.selectorLabels" . }}
app.kubernetes.io/version: {{ include "consumer.version" .root | replace "+" "_" | replace "/" "_" | trunc 63 | regexFind ".*[A-Za-z0-9]" | quote }}
app.kubernetes.io/part-of: pact-operator
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "consumer.version" -}}
{{- $version := default .Chart.AppVersion .Values.version -}}
{{- if eq $version "latest" -}}
{{- fail "version must not be latest: a name that moves is no version. Name one build." -}}
{{- end -}}
{{- if and (contains "{version}" .Values.image.tag) (not (regexMatch "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$" $version)) -}}
{{- fail (printf "version %q cannot be the tag of an image. Set image.tag to the tag that this version was built under." $version) -}}
{{- end -}}
{{- $version -}}
{{- end -}}

{{- define "consumer.image" -}}
{{- include "consumer.reference" (dict "repository" .Values.image.repository "tag" .Values.image.tag "value" "image.tag") -}}
{{- end -}}

{{- define "consumer.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .Values.runAsUser }}
runAsGroup: {{ .Values.runAsUser }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "consumer.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "consumer.dnsEgress" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{/* An image reference, refused without a fixed tag: dict "repository" R "tag" T "value" NAME-OF-THE-VALUE. */}}
{{- define "consumer.reference" -}}
{{- if eq .tag "latest" -}}
{{- fail (printf "%s must not be latest: a tag that moves is no version. Name the tag of one build." .value) -}}
{{- end -}}
{{- printf "%s:%s" .repository .tag -}}
{{- end -}}
