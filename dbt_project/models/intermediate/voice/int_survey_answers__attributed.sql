-- Every answer to a survey with the contact who gave it: recommendation 0 to 10, satisfaction and ease 0 to 1.
with

nps_answers as (

    select * from {{ ref('stg_surveys__nps_answers') }}

),

ces_answers as (

    select * from {{ ref('stg_surveys__ces_answers') }}

),

satisfaction as (

    select * from {{ ref('int_satisfaction__answered') }}

),

tickets as (

    select * from {{ ref('int_tickets__attributed') }}

),

links as (

    select * from {{ ref('int_contact_links') }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

-- also by an address that the person has left
addresses as (

    select
        email,
        min(contact_id) as contact_id
    from links
    where
        is_kept
        and record_kind <> 'cookie'
    group by email

),

by_address as (

    select
        'nps' as survey,
        {{ dbt.concat(["'nps-'", 'nps_answer_id']) }} as answer_id,
        email,
        cast(score as double precision) as answer,
        answered_at
    from nps_answers

    union all

    -- of effort more is worse where the scale says so
    select
        'effort' as survey,
        {{ dbt.concat(["'ces-'", 'answer_id']) }} as answer_id,
        email,
        case
            when higher_is_better then {{ ratio('score - scale_min', 'scale_max - scale_min') }}
            else {{ ratio('scale_max - score', 'scale_max - scale_min') }}
        end as answer,
        answered_at
    from ces_answers

),

final as (

    select
        by_address.survey,
        by_address.answer_id,
        contacts.customer_id,
        contacts.contact_id,
        by_address.answer,
        by_address.answered_at,
        cast(by_address.answered_at as date) as answered_date
    from by_address
    inner join addresses
        on by_address.email = addresses.email
    inner join contacts
        on addresses.contact_id = contacts.contact_id

    union all

    select
        'satisfaction' as survey,
        {{ dbt.concat(["'ticket-'", 'satisfaction.ticket_id']) }} as answer_id,
        satisfaction.customer_id,
        tickets.contact_id,
        satisfaction.satisfaction as answer,
        cast(satisfaction.answered_date as {{ dbt.type_timestamp() }}) as answered_at,
        satisfaction.answered_date
    from satisfaction
    inner join tickets
        on satisfaction.ticket_id = tickets.ticket_id

)

select * from final
