{#
    The name of the rules that health is scored by, as a text literal: ten digits of a hash over the rule files that
    decide a score or a stage, the SQL of the measures, the day the reference ends and `health_rebuild`. A changed rule
    is a new version by itself; raising `vars.health_rebuild` makes one with the same rules.
#}
{% macro rules_version() -%}
    {%- if not execute -%}
        {{ return("''") }}
    {%- endif -%}
    {%- set seeds = [
        'health_measures', 'health_dimensions', 'health_weights', 'health_bands', 'health_thresholds', 'tenure_bands', 'features',
    ] -%}
    {%- set parts = [var('health_reference_until') | string, var('health_rebuild') | string] -%}
    {%- for node in graph.nodes.values() | sort(attribute='unique_id') -%}
        {%- if node.name in seeds or node.name.startswith('int_measure__') -%}
            {%- do parts.append(node.name ~ ':' ~ node.checksum.checksum) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return("'" ~ local_md5(parts | join(';'))[:10] ~ "'") }}
{%- endmacro %}

{# A number from seeds/rules/health_thresholds.csv: those that decide a score or a stage, and so belong to the version. #}
{% macro health_threshold(rule) -%}
    (select health_thresholds.value from {{ ref('health_thresholds') }} as health_thresholds where health_thresholds.rule = '{{ rule }}')
{%- endmacro %}
