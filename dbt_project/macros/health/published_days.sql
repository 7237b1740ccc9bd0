{#
    What lets health grow by the day. A day is published once under a version of the rules: later builds go on from the
    day after. A day that was published before it was over (a clock within the day) is published again until it is.
#}

{# The first day that is not published yet under the present rules, as an expression; null where none is. #}
{% macro first_unpublished_day() -%}
    {%- if not execute -%}
        {{ return('cast(null as date)') }}
    {%- endif -%}
    {%- set history = adapter.get_relation(
        database=target.database,
        schema=generate_schema_name('marts', none),
        identifier='customer_health_history',
    ) -%}
    {%- if history is none or 'published_at' not in adapter.get_columns_in_relation(history) | map(attribute='name') | list -%}
        {{ return('cast(null as date)') }}
    {%- endif -%}
    {%- set last_day -%}
        select max(as_of_date)
        from {{ history }}
        where
            rules_version = {{ rules_version() }}
            and published_at >= {{ dbt.dateadd('second', 86399, 'cast(as_of_date as ' ~ dbt.type_timestamp() ~ ')') }}
    {%- endset -%}
    {%- set day = run_query(last_day).columns[0].values()[0] -%}
    {%- if day is none -%}
        {{ return('cast(null as date)') }}
    {%- endif -%}
    {{ return("cast('" ~ (day + modules.datetime.timedelta(days=1)) ~ "' as date)") }}
{%- endmacro %}

{# The first day that this build scores. #}
{% macro first_scored_day() -%}
    (select min(days.as_of_date) from {{ ref('int_days') }} as days)
{%- endmacro %}

{# A condition: the model that asks has no rows of the present rules yet. What is read once under them is read then. #}
{% macro is_first_reading() -%}
    {%- if is_incremental() -%}
        not exists (select 1 from {{ this }} as frozen where frozen.rules_version = {{ rules_version() }})
    {%- else -%}
        1 = 1
    {%- endif -%}
{%- endmacro %}

{#
    The incremental strategy `append_days`: a day that an interrupted build left behind gives way, everything else stays.
    Where the model says `keeps_versions: false`, rows of other versions of the rules leave.
#}
{% macro get_incremental_append_days_sql(arg_dict) -%}
    {%- set columns = get_quoted_csv(arg_dict.dest_columns | map(attribute='name')) -%}
    delete from {{ arg_dict.target_relation }}
    where
        (rules_version = {{ rules_version() }} and as_of_date in (select as_of_date from {{ arg_dict.temp_relation }}))
        {%- if not config.get('meta', {}).get('keeps_versions', true) %}
        or rules_version <> {{ rules_version() }}
        {%- endif %};

    insert into {{ arg_dict.target_relation }} ({{ columns }})
    select {{ columns }}
    from {{ arg_dict.temp_relation }}
{%- endmacro %}
