with

source as (

    select
        *,
        {{ load_rank('id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_hubspot', 'contact') }}

),

renamed as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as hubspot_contact_id,
        cast(property_associatedcompanyid as {{ dbt.type_string() }}) as hubspot_company_id,
        ---------- attributes
        {{ normalised_email('property_email') }} as email,
        trim(property_firstname) as first_name,
        trim(property_lastname) as last_name,
        property_jobtitle as job_title,
        upper(property_hs_buying_role) as buying_role,
        lower(property_hs_language) as language,
        property_country as country,
        property_hs_timezone as time_zone,
        {{ true_or_false('property_hs_email_optout') }} as has_opted_out,
        property_hs_legal_basis as legal_basis,
        coalesce({{ true_or_false('_fivetran_deleted') }}, false) as is_deleted,
        ---------- timestamps
        {{ utc_timestamp('property_createdate') }} as created_at,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where
        created_at <= {{ as_of_at() }}
        and not is_deleted

)

select * from known
