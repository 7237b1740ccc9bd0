{{ config(materialized='ephemeral') }}

-- Every rating of a ticket on one scale from 0 (bad) to 1 (good), from the ticket itself or from a survey.
with

field_changes as (

    select * from {{ ref('stg_zendesk__ticket_field_changes') }}

),

csat_answers as (

    select * from {{ ref('stg_surveys__csat_answers') }}

),

conversations as (

    select *
    from {{ sources_union(
        {'intercom': 'stg_intercom__conversations'},
        {'ticket_id': dbt.type_string(), 'rating': 'bigint', 'rated_at': dbt.type_timestamp()}
    ) }}

),

final as (

    select
        'zendesk' as source_name,
        ticket_id,
        changed_at as answered_at,
        case when field_value = 'good' then 1.0 else 0.0 end as satisfaction
    from field_changes
    where
        field_name = 'satisfaction_score'
        and field_value in ('good', 'bad')

    union all

    select
        'zendesk' as source_name,
        ticket_id,
        answered_at,
        {{ ratio('score - scale_min', 'scale_max - scale_min') }} as satisfaction
    from csat_answers
    where score is not null

    union all

    -- Intercom asks for one of five faces
    select
        source_name,
        ticket_id,
        rated_at as answered_at,
        {{ ratio('rating - 1', '4') }} as satisfaction
    from conversations
    where rating between 1 and 5

)

select * from final
