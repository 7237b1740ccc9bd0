-- How many are in each segment and group on each day that was built, and who came and went since the day built before.
-- A day is not written again once a later one stands.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='as_of_date',
    full_refresh=false,
    on_schema_change='append_new_columns',
) }}

with

members as (

    select * from {{ ref('segment_members') }}

),

-- a segment without anybody is there, with nobody
names as (

    {% for segment in var('segments') %}
    select '{{ segment }}' as segment_name
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}

),

{{ sizes_of_the_day('segment_name', 'segment_group') }}

select * from final
