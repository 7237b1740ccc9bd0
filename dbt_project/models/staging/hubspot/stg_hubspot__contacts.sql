with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at', ties=['property_email', 'property_associatedcompanyid', 'property_hs_email_optout']) }} as load_rank
    from {{ landed('hubspot', 'contact', [
        'id', 'property_associatedcompanyid', 'property_email', 'property_firstname', 'property_lastname',
        'property_jobtitle', 'property_hs_buying_role', 'property_hs_language', 'property_country',
        'property_hs_timezone', 'property_hs_email_optout', 'property_hs_legal_basis', 'property_createdate',
    ]) }}

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
        {{ asked_to_stop('property_hs_email_optout') }} as has_opted_out,
        property_hs_legal_basis as legal_basis,
        _is_deleted as is_deleted,
        ---------- timestamps
        {{ utc_timestamp('property_createdate') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where
        {{ not_after_clock('created_at') }}
        and not is_deleted

)

select * from known
