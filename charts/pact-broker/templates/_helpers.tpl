{{- define "pact-broker.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Prefix of all object names; short enough for every suffix this chart adds. */}}
{{- define "pact-broker.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 42 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 42 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 42 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels by which Services, policies and controllers select Pods: dict "root" $ "component" NAME. Immutable. */}}
{{- define "pact-broker.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pact-broker.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "pact-broker.labels" -}}
{{ include "pact-broker.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: pact-operator
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "pact-broker.image" -}}
{{- $image := index .Values.images .Values.flavour -}}
{{- include "pact-broker.reference" (dict "repository" $image.repository "tag" (default .Chart.AppVersion $image.tag) "value" (printf "images.%s.tag" .Values.flavour)) -}}
{{- end -}}

{{- define "pact-broker.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pact-broker.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "pact-broker.readwriteSecret" -}}
{{- default (printf "%s-readwrite" (include "pact-broker.fullname" .)) .Values.auth.readwrite.existingSecret -}}
{{- end -}}

{{- define "pact-broker.readonlySecret" -}}
{{- default (printf "%s-readonly" (include "pact-broker.fullname" .)) .Values.auth.readonly.existingSecret -}}
{{- end -}}

{{- define "pact-broker.postgresSecret" -}}
{{- default (printf "%s-postgres" (include "pact-broker.fullname" .)) .Values.postgres.existingSecret -}}
{{- end -}}

{{- define "pact-broker.serviceUrl" -}}
{{- printf "http://%s.%s.svc:%v" (include "pact-broker.fullname" .) .Release.Namespace .Values.service.port -}}
{{- end -}}

{{- define "pact-broker.baseUrls" -}}
{{- if .Values.baseUrls -}}
{{- join " " .Values.baseUrls -}}
{{- else -}}
{{- include "pact-broker.serviceUrl" . -}}
{{- end -}}
{{- end -}}

{{/* How the application finds its database. */}}
{{- define "pact-broker.databaseEnv" -}}
{{- if .Values.postgres.enabled }}
- name: PACT_BROKER_DATABASE_ADAPTER
  value: postgres
- name: PACT_BROKER_DATABASE_HOST
  value: {{ include "pact-broker.fullname" . }}-postgres
- name: PACT_BROKER_DATABASE_PORT
  value: "5432"
- name: PACT_BROKER_DATABASE_NAME
  value: {{ .Values.postgres.database | quote }}
- name: PACT_BROKER_DATABASE_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ include "pact-broker.postgresSecret" . }}
      key: username
- name: PACT_BROKER_DATABASE_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "pact-broker.postgresSecret" . }}
      key: password
{{- else }}
- name: PACT_BROKER_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "database.existingSecret must name the Secret with the database's URL when postgres.enabled is false" .Values.database.existingSecret }}
      key: {{ .Values.database.existingSecretKey }}
{{- end }}
- name: PACT_BROKER_DATABASE_CONNECT_MAX_RETRIES
  value: "20"
- name: PACT_BROKER_LOG_LEVEL
  value: {{ .Values.logLevel | quote }}
# Neither flavour may report its use to anyone outside.
- name: PACT_DO_NOT_TRACK
  value: "true"
- name: SCARF_NO_ANALYTICS
  value: "true"
- name: PACT_BROKER_HIDE_PACTFLOW_MESSAGES
  value: "true"
{{- end -}}

{{- define "pact-broker.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .Values.runAsUser }}
runAsGroup: {{ .Values.runAsUser }}
{{- if eq .Values.flavour "official" }}
# The official image keeps its files readable for the root group, whatever the user id.
supplementalGroups: [0]
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "pact-broker.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "pact-broker.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
A Secret whose password is made once: dict "root" $ "name" NAME "username" USER "component" C "keepUsername" BOOL.
On an upgrade, and on a new installation after an uninstall, what the cluster holds wins.
*/}}
{{- define "pact-broker.credentialsSecret" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- $password := dig "data" "password" "" (default dict $found) | b64dec | default (randAlphaNum 32) -}}
{{- $username := .username -}}
{{- if .keepUsername -}}
{{- $username = dig "data" "username" "" (default dict $found) | b64dec | default .username -}}
{{- end -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "pact-broker.labels" . | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
type: kubernetes.io/basic-auth
data:
  username: {{ $username | b64enc | quote }}
  password: {{ $password | b64enc | quote }}
{{- end -}}

{{- define "pact-broker.dnsEgress" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{- define "pact-broker.databaseEgress" -}}
{{- if .Values.postgres.enabled -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "pact-broker.selectorLabels" (dict "root" $ "component" "postgres") | nindent 10 }}
  ports:
    - {protocol: TCP, port: 5432}
{{- else -}}
# A database outside this release: its address is in a Secret, so the port is all that can be said here.
- ports:
    - {protocol: TCP, port: {{ .Values.networkPolicy.databasePort }}}
{{- end -}}
{{- end -}}

{{/* An image reference, refused without a fixed tag: dict "repository" R "tag" T "value" NAME-OF-THE-VALUE. */}}
{{- define "pact-broker.reference" -}}
{{- if eq .tag "latest" -}}
{{- fail (printf "%s must not be latest: a tag that moves is no version. Name the tag of one build." .value) -}}
{{- end -}}
{{- printf "%s:%s" .repository .tag -}}
{{- end -}}
